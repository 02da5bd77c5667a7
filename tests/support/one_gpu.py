"""`one_gpu.py train …`, under torchrun: a command of distalex whose processes share one GPU and talk over gloo.

distalex gives each process a GPU of its own and joins them by NCCL, which refuses to share one.
"""

import sys

import torch
import torch.distributed as dist

from distalex.cli.main import main
from distalex.parallel import start

join, barrier = dist.init_process_group, dist.barrier


def first_gpu(*_):
    torch.cuda.set_device(0)
    return torch.device("cuda", 0)


start.choose_device = first_gpu
dist.init_process_group = lambda backend, device_id=None, **options: join("gloo", **options)
dist.barrier = lambda *arguments, device_ids=None, **options: barrier(*arguments, **options)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
