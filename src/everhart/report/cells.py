"""What was found of one image by one method, kept in a folder so that a stopped run can go on."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError, UsageError

__all__ = ["Cell", "CellStore", "key_of"]

Grey8 = NDArray[np.uint8]

_MARK: Final = "everhart-cells.json"  # a folder without it is not ours, and never emptied
_LONGEST_NAME: Final = 60


@dataclass(frozen=True)
class Cell:
    """The figures of one image by one method.

    Parameters
    ----------
    method
        Name to show.
    figures
        Figures and cost, by key.
    facts
        What is known of the image and how its reference was laid on it; plain values.
    """

    method: str
    figures: Mapping[str, float]
    facts: Mapping[str, Any] = field(default_factory=dict)


def key_of(**what: Any) -> str:
    """Return a hash of all that a cell depends on, as 64 hexadecimal digits.

    Parameters
    ----------
    **what
        Plain values: hashes of files, settings, version.

    Examples
    --------
    >>> key_of(image="a", method="nlm") == key_of(method="nlm", image="a")
    True
    """
    text = json.dumps(what, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


class CellStore:
    """A folder of cells: a small JSON file each, and crops of the pictures beside it.

    A cell is found by the hash of all that it depends on, so one of another image, reference, model
    or setting is never taken for it. Pictures are written first: a JSON file that is there is whole
    and has its pictures.

    Parameters
    ----------
    folder
        An existing folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def open(cls, folder: Path, *, resume: bool, overwrite: bool) -> Self:
        """Open the folder of a run, making it where it is not there.

        Parameters
        ----------
        folder
            The folder; its parent must exist.
        resume
            Whether cells that are in it may be used.
        overwrite
            Whether they may be thrown away, if not used.

        Raises
        ------
        UsageError
            If it exists and neither was asked for, or is no folder of cells.
        EverhartError
            If it cannot be written.
        """
        from everhart.io.atomic import write_text

        check_store(folder, resume=resume, overwrite=overwrite)
        try:
            if folder.is_dir() and not resume:
                shutil.rmtree(folder)
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise EverhartError(
                f"The folder {folder} could not be made anew ({error.strerror}): choose another "
                "place for the report."
            ) from error
        if not (folder / _MARK).exists():
            write_text(folder / _MARK, json.dumps({"kind": "everhart comparison cells"}) + "\n")
        return cls(folder)

    def load(self, key: str, name: str) -> Cell | None:
        """Return a cell, or None if there is none that can be read.

        Parameters
        ----------
        key
            Hash as of :func:`key_of`.
        name
            What it is called, for whoever looks into the folder.
        """
        try:
            known = json.loads(self._path(key, name).read_text(encoding="utf-8"))
            if known["key"] != key:
                return None
            figures = {str(k): float(v) for k, v in known["figures"].items()}
            return Cell(str(known["method"]), figures, dict(known["facts"]))
        except (OSError, ValueError, TypeError, LookupError, AttributeError):
            return None

    def save(
        self, key: str, name: str, cell: Cell, pictures: Mapping[str, Grey8] | None = None
    ) -> None:
        """Keep a cell with crops of its pictures.

        Parameters
        ----------
        key, name
            As for :meth:`load`.
        cell
            The cell.
        pictures
            8-bit crops ``(H, W)`` by role, such as ``"picture"`` and ``"reference"``.
        """
        from everhart.io.atomic import write_bytes, write_text

        path = self._path(key, name)
        for role, picture in (pictures or {}).items():
            write_bytes(self._picture(path, role), _png(picture), overwrite=True)
        document = {
            "key": key,
            "method": cell.method,
            # JSON has no word for what is not finite: a text, which float() reads as well
            "figures": {k: v if math.isfinite(v) else str(v) for k, v in cell.figures.items()},
            "facts": dict(cell.facts),
        }
        text = json.dumps(document, indent=1, allow_nan=False)
        write_text(path, text + "\n", overwrite=True)

    def picture(self, key: str, name: str, role: str) -> Grey8 | None:
        """Return a crop, or None if there is none."""
        import cv2

        path = self._picture(self._path(key, name), role)
        try:
            encoded = np.frombuffer(path.read_bytes(), np.uint8)
        except OSError:
            return None
        grey = cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE) if encoded.size else None
        return None if grey is None else np.asarray(grey, np.uint8)

    def _path(self, key: str, name: str) -> Path:
        readable = re.sub(r"[^\w.-]+", "_", name, flags=re.ASCII).strip("_.")[-_LONGEST_NAME:]
        return self.folder / f"{readable}.{key[:16]}.json"

    @staticmethod
    def _picture(path: Path, role: str) -> Path:
        return path.with_suffix(f".{role}.png")


def check_store(folder: Path, *, resume: bool, overwrite: bool) -> None:
    """Check that a folder of cells can be opened, before any work; see :meth:`CellStore.open`."""
    if not folder.parent.is_dir():
        raise UsageError(
            f"The folder {folder.parent} of the report does not exist: make it first, or choose "
            "an existing folder."
        )
    if not folder.exists():
        return
    if not folder.is_dir() or not ((folder / _MARK).is_file() or not any(folder.iterdir())):
        raise UsageError(
            f"{folder} is in the way of the intermediate results and was not made by Everhart: "
            "choose another name for the report."
        )
    if not resume and not overwrite:
        raise UsageError(
            f"The folder {folder} of a run before exists already: add --resume to go on with it, "
            "or --overwrite to begin anew."
        )


def _png(grey: Grey8) -> bytes:
    import cv2

    done, encoded = cv2.imencode(".png", grey, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not done:
        raise EverhartError(f"A picture of shape {grey.shape} could not be encoded as PNG.")
    return bytes(encoded.tobytes())
