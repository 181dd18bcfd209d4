"""The settings of a comparison on a data set in a file, so that it can be repeated."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from everhart.errors import FileFormatError, UsageError
from everhart.micrograph import __version__
from everhart.report.comparison import AlignmentModel
from everhart.report.dataset import method_record
from everhart.report.methods import is_model_file, label
from everhart.report.metrology import MeasuredKind
from everhart.report.pairing import Item, find_items

__all__ = ["DatasetConfig", "read_config", "write_config"]

_KIND: Final = "everhart comparison on a data set"


class DatasetConfig(BaseModel):
    """All that a comparison on a data set depends on; :meth:`arguments` are those of the function.

    In the file, paths are relative to its folder, so that a folder that is moved as a whole still
    works.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["everhart comparison on a data set"] = _KIND
    everhart: str = __version__
    provenance: dict[str, str] = Field(default_factory=dict)
    images: list[str] = Field(min_length=1)
    references: list[str] = []
    match: Literal["names", "order"] = "names"
    fields: bool = False
    methods: list[str] = Field(min_length=1)
    model_sha256: dict[str, str] = Field(default_factory=dict)
    alignment: AlignmentModel = "affine"
    data_range: float | None = Field(None, gt=0, allow_inf_nan=False)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    turns: int = Field(3, ge=1)
    measure: MeasuredKind | None = None
    pixel_size_nm: float | None = Field(None, gt=0, allow_inf_nan=False)
    judge_by: str | None = None
    tie_margin: float | None = Field(None, ge=0, allow_inf_nan=False)
    worst_of: str | None = None

    def items(self) -> list[Item]:
        """Find the images, each with what judges it.

        Raises
        ------
        UsageError
            If a file is missing, or an image has no reference.
        """
        if not self.references or self.match == "names":
            return find_items(self.images, references=self.references or None, fields=self.fields)
        items = find_items(self.images)
        references = [Path(path) for path in self.references]
        if len(references) == 1:
            references *= len(items)
        return [
            Item(item.name, item.image, reference)
            for item, reference in zip(items, references, strict=True)
        ]

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of :func:`everhart.report.compare_dataset`."""
        names = (
            "alignment", "data_range", "device", "turns", "measure", "pixel_size_nm",
            "judge_by", "tie_margin", "worst_of",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def changes(self) -> list[str]:
        """Return what is no longer as it was when the file was written, one sentence each."""
        found = []
        if self.everhart != __version__:
            found.append(
                f"The settings were written by Everhart {self.everhart} and this is {__version__}: "
                "figures may differ."
            )
        now = _model_hashes(self.methods)
        found += [
            f"The model {name} is another one than that of the settings: its figures will differ."
            for name, digest in self.model_sha256.items()
            if name in now and now[name] != digest
        ]
        return found


def write_config(config: DatasetConfig, path: Path, *, overwrite: bool = False) -> Path:
    """Write the settings of a comparison as YAML.

    Parameters
    ----------
    config
        The settings, with paths relative to the working folder or absolute.
    path
        The file.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The file.
    """
    import yaml

    from everhart.io.atomic import write_text

    folder = path.absolute().parent
    moved = config.model_copy(
        update={
            "images": [_relative(word, folder) for word in config.images],
            "references": [_relative(word, folder) for word in config.references],
            "methods": [_relative(m, folder) if is_model_file(m) else m for m in config.methods],
            "model_sha256": _model_hashes(config.methods),
            "everhart": __version__,
        }
    )
    text = yaml.safe_dump(moved.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    head = f"# Repeat with: everhart compare --config {path.name} --report NEW.html\n"
    return write_text(path, head + text, overwrite=overwrite)


def read_config(path: Path) -> DatasetConfig:
    """Read the settings of a comparison.

    Parameters
    ----------
    path
        A file as of :func:`write_config`.

    Returns
    -------
    DatasetConfig
        With paths that hold from the working folder.

    Raises
    ------
    UsageError
        If there is no such file, or a setting is not allowed.
    FileFormatError
        If it is not YAML, or something else than the settings of a comparison.
    """
    import yaml

    if not path.is_file():
        raise UsageError(f"There are no settings {path}: give the .yaml file beside a report.")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        said = " ".join(str(error).split())
        raise FileFormatError(f"{path} cannot be read as YAML: {said}.") from error
    if not isinstance(values, dict) or values.get("kind") != _KIND:
        raise FileFormatError(
            f"{path} holds no settings of a comparison on a data set: give the .yaml file that "
            "everhart compare wrote beside its report."
        )
    try:
        config = DatasetConfig.model_validate(values)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"])
        raise UsageError(
            f"{path}: {where}: {fault['input']!r} was given. {fault['msg']}."
        ) from error
    folder = path.parent
    return config.model_copy(
        update={
            "images": [str(folder / word) for word in config.images],
            "references": [str(folder / word) for word in config.references],
            "methods": [str(folder / m) if is_model_file(m) else m for m in config.methods],
        }
    )


def _relative(word: str, folder: Path) -> str:
    try:
        return Path(os.path.relpath(Path(word).absolute(), folder)).as_posix()
    except ValueError:  # on Windows, another drive
        return str(Path(word).absolute())


def _model_hashes(methods: list[str]) -> dict[str, str]:
    records = {label(method): method_record(method) for method in methods}
    return {name: one["model_sha256"] for name, one in records.items() if "model_sha256" in one}
