"""Imports point one way, between rooms and inside them, wherever in a file they stand."""

import ast
from collections.abc import Iterator
from pathlib import Path

import distalex

PACKAGE = Path(distalex.__file__).parent
ROOMS = [
    *("errors", "random", "shares", "files", "console"),
    *("machine", "config", "kernels", "model", "parallel", "optim", "data", "runs"),
    *("plan", "prepare", "evaluate", "export", "compare", "predict", "report", "bench", "train", "tune", "cli", "api"),
]
"""A room imports those before it, and never one that comes after."""


def modules() -> dict[str, Path]:
    names = {path: path.relative_to(PACKAGE.parent).with_suffix("").as_posix().replace("/", ".") for path in PACKAGE.rglob("*.py")}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def imports_of(path: Path) -> set[str]:
    """Modules of distalex that a file imports, those inside functions too."""
    known, found = modules(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "distalex":
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in known else str(node.module))
    return found - {"distalex"}


def room_of(module: str) -> str:
    return module.split(".")[1]


def test_every_room_is_listed():
    assert {room_of(name) for name in modules() if "." in name} - {"__main__"} == set(ROOMS)


def test_imports_between_rooms_point_one_way():
    wrong = [
        f"{name} imports {other}"
        for name, path in modules().items()
        if "." in name and not name.endswith("__main__")
        for other in imports_of(path)
        if ROOMS.index(room_of(other)) > ROOMS.index(room_of(name))
    ]
    assert not wrong, "\n".join(sorted(wrong))


def test_no_module_imports_itself_by_way_of_others():
    graph = {name: imports_of(path) for name, path in modules().items()}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " imports ".join([*way[way.index(name) :], name])
        if name not in done:
            for other in sorted(graph[name]):
                visit(other, (*way, name))
            done.add(name)

    for name in graph:
        visit(name, ())


def test_nobody_imports_a_door():
    assert not [name for name, path in modules().items() if any(other.endswith("__main__") for other in imports_of(path))]


def test_the_model_knows_nothing_of_processes():
    for path in (PACKAGE / "model").rglob("*.py"):
        assert "distributed" not in path.read_text().replace("torch.distributed.tensor", ""), path


def test_functions_and_files_are_short():
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text()
        assert text.count("\n") <= 350, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path.name}: {node.name}"


def test_every_public_definition_has_a_docstring():
    missing = [
        f"{path.relative_to(PACKAGE)}: {getattr(node, 'name', 'the module')}"
        for path in PACKAGE.rglob("*.py")
        if path.name != "__main__.py"
        for node in public_definitions(ast.parse(path.read_text()))
        if not ast.get_docstring(node)
    ]
    assert not missing, "\n".join(missing)


def public_definitions(tree: ast.Module | ast.ClassDef) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef]:
    yield tree
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield from public_definitions(node) if isinstance(node, ast.ClassDef) else [node]
