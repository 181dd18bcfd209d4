"""The arrows of the design: which room may import which, and what a start may load.

Imports are read from the source, those inside of functions too: a lazy import is an arrow
all the same.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import everhart

ROOT = Path(everhart.__file__).parent

# A room may import the rooms above it in this list, and those beside it as long as no circle
# comes of it. What is in no list is not a room, and the test says so.
LAYERS = (
    ("errors", "_callable_room"),
    ("micrograph",),
    ("io", "simulate", "align", "noise", "metrics"),
    ("nn",),
    ("training",),
    ("restore", "segment", "synthesize", "measure"),
    ("report", "studies", "operations"),
    ("cli", "service", "client", "desktop", "__main__"),
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}

# `measure` needs no torch, so it keeps to the rooms that have none.
NARROWER = {
    "measure": {"errors", "_callable_room", "micrograph", "io", "align", "noise", "metrics"},
}

TORCH = {"torch", "lightning", "pytorch_lightning", "safetensors"}
ROOMS_WITH_TORCH = {"nn", "training", "restore", "segment", "synthesize", "studies"}
SHELL_LIBRARIES = {"typer", "click", "rich", "PySide6", "pyqtgraph", "fastapi", "sqlalchemy"}


class Import(NamedTuple):
    room: str
    target: str
    where: str


def room_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in ROOT.rglob("*.py")}


def imported_modules(path: Path) -> Iterator[tuple[str, int]]:
    """Absolute names of all modules that a file imports, with the line."""
    package = ["everhart", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                # `from everhart import io` is an import of the module `everhart.io`
                inner = f"{module}.{alias.name}"
                yield (inner if inner in MODULES or module == "everhart" else module), node.lineno
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", getattr(node.func, "id", "")) == "import_module"
            and node.args
            and isinstance(node.args[0], ast.Constant)
        ):
            yield str(node.args[0].value), node.lineno


def all_imports() -> list[Import]:
    return [
        Import(room_of(path), module, f"{path.relative_to(ROOT).as_posix()}:{line}")
        for path in sorted(ROOT.rglob("*.py"))
        if path != ROOT / "__init__.py"  # the public API: it names every room and loads none
        for module, line in imported_modules(path)
    ]


IMPORTS = all_imports()
ARROWS = [
    Import(found.room, found.target.split(".")[1], found.where)
    for found in IMPORTS
    if found.target.startswith("everhart.") and found.target.split(".")[1] != found.room
]


def test_lazy_imports_are_seen():
    assert any(a.room == "cli" and a.target == "restore" for a in ARROWS)
    assert any(found.target == "scipy.fft" and found.room == "align" for found in IMPORTS)


def test_every_room_is_in_the_plan():
    rooms = {room_of(path) for path in ROOT.rglob("*.py")} - {"__init__"}
    assert rooms <= set(LEVEL)


def test_arrows_point_one_way():
    wrong = [
        arrow
        for arrow in ARROWS
        if arrow.target not in LEVEL or LEVEL[arrow.target] > LEVEL[arrow.room]
    ]
    assert wrong == []


def test_no_circles_between_rooms():
    """Rooms side by side may use each other's modules, but no module of a room needs itself."""
    needs = {
        module: {target for target, _ in imported_modules(path)} & MODULES.keys()
        for module, path in MODULES.items()
        if module != "everhart"
    }
    circles = []
    for module, targets in needs.items():
        room = module.split(".")[1]
        reached, ahead = set(), {t for t in targets if t.split(".")[1] != room}
        while ahead:
            reached |= ahead
            ahead = set().union(*(needs[m] for m in ahead)) - reached
        if module in reached:
            circles.append(module)
    assert circles == []


def test_no_room_imports_the_package_that_holds_it():
    assert [found for found in IMPORTS if found.target == "everhart"] == []


def test_measure_keeps_to_rooms_without_torch():
    wrong = [a for a in ARROWS if a.room in NARROWER and a.target not in NARROWER[a.room]]
    assert wrong == []


def test_only_some_rooms_import_torch():
    wrong = [
        found
        for found in IMPORTS
        if found.target.split(".")[0] in TORCH and found.room not in ROOMS_WITH_TORCH
    ]
    assert wrong == []


def test_only_shells_import_what_talks_to_people():
    wrong = [
        found
        for found in IMPORTS
        if found.target.split(".")[0] in SHELL_LIBRARIES
        and LEVEL[found.room] < LEVEL["cli"]
        # The trainer's progress bar is Lightning's affair.
        and found.room != "training"
    ]
    assert wrong == []


def loaded_by(statement: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; {statement}; print(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        timeout=280,  # a busy machine takes its time
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    ["import everhart", "import everhart.cli", "from everhart.cli import main; main(['-h'])"],
)
def test_importing_is_light(statement: str):
    # Numbers of seconds depend on the machine and its load; what is loaded does not.
    loaded = loaded_by(statement)
    assert not loaded & {
        "numpy",
        "torch",
        "lightning",
        "scipy",
        "skimage",
        "cv2",
        "pandas",
        "xarray",
    }
    assert not loaded & {"matplotlib", "tifffile", "imagecodecs", "PIL", "pydantic", "rich"}


@pytest.mark.parametrize(
    "statement",
    ["import everhart.operations", "import everhart.report", "import everhart.io"],
)
def test_rooms_without_torch_load_none(statement: str):
    assert not loaded_by(statement) & {"torch", "lightning"}


def test_public_names_can_be_had():
    assert sorted(everhart.__all__) == dir(everhart)
    for name in everhart.__all__:
        assert getattr(everhart, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'denose'"):
        everhart.denose  # noqa: B018


def test_restore_names_are_light():
    assert not loaded_by("import everhart.restore.names") & {"scipy", "torch", "pydantic"}


def test_classical_denoising_loads_no_torch():
    statement = "import everhart as eh, numpy as np; eh.denoise(np.eye(64) * 9, 'median')"
    assert "torch" not in loaded_by(statement)
