"""Sources and damaged files that tests of data share."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from distalex.cli.main import main
from distalex.config.config import Config
from distalex.config.data import DataConfig
from distalex.data.beton.sidecar import sidecar
from distalex.data.open import Data, open_data
from distalex.data.source import Source
from distalex.data.splits import open_sources
from distalex.parallel.mesh import Mesh

QUIET = partial(lambda *_: None)


def some_source(photographs: Path, side: int = 16) -> Source:
    return open_sources(DataConfig(name="folder", root=str(photographs), stored_size=side))[0]


def opened(config: Config, mesh: Mesh, say: Callable[[str], None] = QUIET) -> Data:
    """The data of a run of `config`."""
    train = config.train
    return open_data(
        *(config.data, mesh, say, QUIET),
        batch_size=train.batch_size,
        eval_batch_size=train.eval_batch_size,
        micro_batches=train.accumulate,
        precision=train.precision,
        seed=config.seed,
    )


def damage(path: Path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    match kind:
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "flipped":
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        case "foreign":
            path.write_bytes(b"not a beton" * 100)
        case "alone":
            sidecar(path).unlink()
        case "nonsense":
            sidecar(path).write_text("{}")
        case "newer":
            values = json.loads(sidecar(path).read_text())
            sidecar(path).write_text(json.dumps({**values, "format": 99}))


def prepared(*words: str) -> int:
    return main(["prepare", "--size=8", *words])
