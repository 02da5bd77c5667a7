"""Imports point one way, and what answers --help imports nothing heavy."""

import ast
from pathlib import Path

import distalex

PACKAGE = Path(distalex.__file__).parent
ORDER = [
    {"errors"},
    {"config", "topology", "console", "remote"},
    {"random", "compiled", "precision", "probe_gpu", "reference"},
    {"lrn_cpu", "lrn_gpu", "pool_gpu", "windows", "mixing", "agreement", "machine", "limits"},
    {"lrn", "pool", "augment_cpu", "augment_gpu"},
    {"model", "augment"},
    {"distributed", "metrics", "trace", "released"},
    {"columns", "batch_norm", "convolve_gpu", "data", "optim", "sizes"},
    {"owt"},
    {"parallelize", "checkpoint", "plan"},
    {"evaluate"},
    {"neighbours"},
    {"predict"},
    {"dashboard"},
    {"run"},
    {"train", "prepare", "show", "bench", "compare", "export"},
    {"report"},
    {"cli"},
]
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}


def modules():
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room != "__init__":
            yield path, room


def imports_of(path):
    """Rooms of distalex that a module imports when it is itself imported."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "distalex":
            parts = (node.module or "").split(".")
            yield from [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]


def test_every_room_has_its_level():
    assert {room for _, room in modules()} == set(LEVEL)


def test_imports_point_to_earlier_levels():
    for path, room in modules():
        if path.name == "__main__.py":
            continue
        for other in imports_of(path):
            if other not in (room, "__version__"):
                assert LEVEL[other] < LEVEL[room], f"{path.name} ({room}) imports {other}"


def test_the_model_knows_nothing_of_processes():
    assert "distributed" not in (PACKAGE / "model.py").read_text().replace("torch.distributed.tensor", "")


def test_functions_are_short():
    for path, _ in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path.name}: {node.name}"
