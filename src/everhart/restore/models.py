"""The models at hand: those that ship with the package and the user's own."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from everhart.errors import FileFormatError, UsageError, unknown_name
from everhart.restore.names import CLASSICAL, SHIPPED

if TYPE_CHECKING:
    from everhart.training.model_header import ModelHeader


@dataclass(frozen=True)
class AvailableModel:
    """A model by name.

    Parameters
    ----------
    name
        Name that ``--model`` and ``--method`` know.
    path
        Its file.
    header
        Its header, with kind and card.
    """

    name: str
    path: Path
    header: ModelHeader


def model_paths() -> dict[str, Path]:
    """Return the files of all models by name.

    The shipped models, then every ``.safetensors`` file in the folders of the environment
    variable ``EVERHART_MODELS`` (separated like those of ``PATH``), by its file name. A
    shipped name cannot be taken over.
    """
    shipped = Path(str(files("everhart.restore") / "weights"))
    found = {name: shipped / f"{name}.safetensors" for name in SHIPPED}
    for folder in os.environ.get("EVERHART_MODELS", "").split(os.pathsep):
        if folder:
            for path in sorted(Path(folder).expanduser().glob("*.safetensors")):
                if path.is_file():
                    found.setdefault(path.stem, path)
    return found


def list_models() -> list[AvailableModel]:
    """Return all models with their cards; files that are no Everhart models are left out."""
    from everhart.training.model_header import read_header

    models = []
    for name, path in model_paths().items():
        try:
            models.append(AvailableModel(name, path, read_header(path)))
        except FileFormatError:
            continue
    return models


def find_model(name_or_path: str | Path) -> Path:
    """Return the file of a model given by name or path.

    Raises
    ------
    UsageError
        If there is neither a file nor a model of this name.
    """
    paths = model_paths()
    text = str(name_or_path)
    if text in paths:
        return paths[text]
    path = Path(text).expanduser()
    if path.is_file():
        return path
    if path.suffix == ".safetensors" or path.parent != Path():
        raise UsageError(f"There is no model file {path}: give a .safetensors file or a name.")
    if text in CLASSICAL:
        raise UsageError(f"{text!r} is a method and no model: give it as the method.")
    raise unknown_name("method or model", text, [*CLASSICAL, *paths])
