"""What the children of the service can do; see :mod:`everhart.service._child`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from everhart.errors import EverhartError, FileFormatError
from everhart.io import open_frames
from everhart.io.limits import Limits
from everhart.io.record import plain
from everhart.io.thumbnail import thumbnail
from everhart.service.names import file_name

__all__ = ["TASKS", "link", "named", "pixels_sha256"]


def inspect(path: str, name: str, limits: dict[str, Any]) -> dict[str, Any]:
    """Look into a file, and decode its first frame.

    Returns
    -------
    dict
        Format, shape, dtype, calibration and metadata.
    """
    with named([(path, name)]) as (file,), open_frames([file], limits=Limits(**limits)) as stack:
        first = stack[0]
        own = stack.metadata["everhart"]
        return {
            "format": own["format"],
            "frames": stack.shape[0],
            "height": stack.shape[1],
            "width": stack.shape[2],
            "dtype": str(stack.dtype),
            "pixel_size_nm": stack.pixel_size_nm,
            "pixel_size_source": own.get("pixel_size_source"),
            "data_bar_rows": stack.data_bar_rows,
            "tree": plain({**first.metadata, "history": [h.to_dict() for h in stack.history]}),
        }


def preview(
    path: str, name: str, limits: dict[str, Any], frame: int, longest_px: int, output: str
) -> dict[str, Any]:
    """Write a PNG picture of a frame."""
    from PIL import Image

    with named([(path, name)]) as (file,), open_frames([file], limits=Limits(**limits)) as stack:
        picture = thumbnail(stack[frame], longest_px)
    Image.fromarray(picture.pixels).save(output, "PNG", compress_level=3)
    return {"height": picture.shape[0], "width": picture.shape[1]}


def load(
    path: str,
    limits: dict[str, Any],
    frame: int,
    output: str,
    pixel_size_nm: float | None = None,
) -> dict[str, Any]:
    """Decode a frame for a program that shows it: its pixels go to an NPY file.

    Returns
    -------
    dict
        Number of frames, calibration, rows of the data bar, metadata and history.
    """
    import numpy as np

    wanted = Limits(**limits)
    with open_frames([Path(path)], pixel_size_nm=pixel_size_nm, limits=wanted) as stack:
        image = stack[frame]
        np.save(output, image.pixels)
        return {
            "frames": stack.shape[0],
            "pixel_size_nm": image.pixel_size_nm,
            "data_bar_rows": image.data_bar_rows,
            "metadata": plain(image.metadata),
            "history": [plain(entry.to_dict()) for entry in stack.history],
        }


def tile(
    folder: str,
    level: int,
    row: int,
    column: int,
    output: str,
    source: tuple[str, str] | None = None,
    frame: int = 0,
    limits: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a tile as PNG; the levels of the image are made first if a source is given.

    Returns
    -------
    dict
        Whether it ``is_there``: without a source it is not, where nothing was made before.
    """
    from everhart.service.tiles import touch, write_levels, write_tile

    levels = Path(folder)
    if source is not None and not levels.is_dir():
        allowed = Limits(**(limits or {}))
        with named([source]) as (file,), open_frames([file], limits=allowed) as stack:
            write_levels(stack[frame], levels)
    try:
        write_tile(levels, level, row, column, Path(output))
        touch(levels)
    except FileNotFoundError:
        return {"is_there": False}
    return {"is_there": True}


@contextmanager
def named(files: Sequence[tuple[str, str]]) -> Iterator[list[Path]]:
    """Give objects the names that they were uploaded with, for what readers and tables say.

    Errors speak of the names, and not of folders of the server.
    """
    with TemporaryDirectory(prefix="everhart-", ignore_cleanup_errors=True) as folder:
        paths = []
        for number, (path, name) in enumerate(files):
            if Path(path).name == file_name(name):  # where it is, with the files that belong to it
                paths.append(Path(path))
                continue
            own = Path(folder) / str(number)
            own.mkdir()
            paths.append(own / file_name(name))
            link(path, paths[-1])
        try:
            yield paths
        except EverhartError as error:
            said = str(error)
            for shown in paths:
                said = said.replace(str(shown), shown.name)
            raise type(error)(said) from error


def link(path: str, name: Path) -> None:
    """Give a file another name."""
    try:
        name.symlink_to(path)
    except OSError:  # Windows, where links are a privilege
        import shutil

        shutil.copyfile(path, name)


def models() -> dict[str, Any]:
    """List the models at hand."""
    from everhart.restore.models import list_models

    found = []
    for model in list_models():
        with model.path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        header = plain(model.header.model_dump(mode="json"))
        found.append({"name": model.name, "sha256": sha256, "header": header})
    return {"models": found}


def inspect_model(path: str, name: str) -> dict[str, Any]:
    """Look into a model file, and load a denoiser as a job would.

    Returns
    -------
    dict
        Its header.
    """
    from everhart.restore import make_denoiser
    from everhart.training.model_file import load_model, read_header

    with named([(path, f"{name}.safetensors")]) as (file,):
        header = read_header(file)
        if header.kind == "denoiser":
            make_denoiser(model=file, device="cpu")
        weights = load_model(file, header.kind).weights
        for key, tensor in weights.items():
            if not bool(tensor.isfinite().all()):
                raise FileFormatError(f"{file} has weights that are no numbers, in {key[:100]}.")
    return {"header": plain(header.model_dump(mode="json"))}


def run(**task: Any) -> dict[str, Any]:
    """Run an operation; see :func:`everhart.service.run_operation.run_operation`."""
    # A reader of uploads has no need of what it imports.
    from everhart.service.run_operation import run_operation

    return run_operation(**task)


def pixels_sha256(pixels: Any) -> str:
    """Return the hash of pixels with their dtype and shape, whatever file they are in."""
    import numpy as np

    digest = hashlib.sha256(f"{pixels.dtype.str} {pixels.shape}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


TASKS: Final[Mapping[str, Callable[..., dict[str, Any]]]] = {
    "inspect": inspect,
    "preview": preview,
    "tile": tile,
    "load": load,
    "models": models,
    "inspect_model": inspect_model,
    "run": run,
}
"""Every task by name."""
