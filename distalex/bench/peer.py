"""A tutorial's job in ordinary PyTorch, the peer of `bench plain`: AlexNet on CIFAR-10 at 96x96, fp32, images resized by PIL.

A program of its own: `python -m distalex.bench.peer --root=DIR --steps=4` prints its images/s as JSON.
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms

from distalex.config.data import DataConfig
from distalex.data.layouts.cifar import CIFAR10, find_cifar
from distalex.data.source import Source
from distalex.data.splits import open_sources

BATCH = 500


class Images(torch.utils.data.Dataset):
    """The first `count` images of a source, over again where it has fewer: decoded in memory, resized and normalised at every access."""

    def __init__(self, source: Source, count: int) -> None:
        self.count = count
        self.images = [(source.image(sample), int(source.labels[sample])) for sample in range(min(count, len(source)))]
        normalize = transforms.Normalize((0.5,) * 3, (0.5,) * 3)
        self.transform = transforms.Compose([transforms.ToPILImage(), transforms.Resize(96), transforms.ToTensor(), normalize])

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image, label = self.images[index % len(self.images)]
        return self.transform(image), label


def main() -> None:
    """Train for the steps that the command line names, after one untimed step."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--root")
    arguments.add_argument("--steps", type=int, default=4)
    arguments.add_argument("--device", default="cpu")
    options = arguments.parse_args()
    source = open_sources(DataConfig(name="cifar10", root=str(find_cifar(CIFAR10, options.root))))[0]
    loader = DataLoader(Images(source, BATCH * (options.steps + 1)), batch_size=BATCH, shuffle=True)

    def conv(inputs: int, outputs: int, kernel: int, stride: int, padding: int, pool: bool = False) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.ReLU(inplace=True)] + [nn.MaxPool2d(3, 2)] * pool

    net = nn.Sequential(
        *conv(3, 64, 11, 4, 2, pool=True),
        *conv(64, 192, 5, 1, 2, pool=True),
        *conv(192, 384, 3, 1, 1),
        *conv(384, 256, 3, 1, 1),
        *conv(256, 256, 3, 1, 1, pool=True),
        *(nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(inplace=True)),
        *(nn.Dropout(), nn.Linear(4096, 1024), nn.ReLU(inplace=True), nn.Linear(1024, 10)),
    )
    net.to(options.device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-4)
    start = time.perf_counter()
    for number, (images, labels) in enumerate(loader):
        loss = nn.functional.cross_entropy(net(images.to(options.device)), labels.to(options.device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()
        if number == 0:  # the first step warms up
            start = time.perf_counter()
    print(json.dumps({"images_per_second": options.steps * BATCH / (time.perf_counter() - start)}))


if __name__ == "__main__":
    main()
