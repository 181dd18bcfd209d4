"""The images of an audit: real ones told apart by what was learned from, and a picture."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.io import image_paths, read
from everhart.io.atomic import atomic_path
from everhart.micrograph import Micrograph, field_of
from everhart.synthesize.audit import Audit
from everhart.synthesize.grey_scale import grey_range
from everhart.synthesize.training_images import hash_of

__all__ = ["AuditImages", "audit_images", "draw_grid", "read_made"]

Image = NDArray[np.float32]

_SHOWN = 12


@dataclass(frozen=True, eq=False)
class AuditImages:
    """Images of an audit, on one linear grey scale, whatever scale a generator has of its own.

    Parameters
    ----------
    made, learned, held_out
        Synthetic images; real ones that were learned from, and others.
    held_out_micrographs
        The last as they are in their files, to be measured.
    """

    made: list[Image]
    learned: list[Image]
    held_out: list[Image]
    held_out_micrographs: list[Micrograph]


def audit_images(
    made: Sequence[NDArray[Any]],
    real: Sequence[str],
    *,
    learned_sha256: Collection[str] = (),
    learned: Sequence[str] = (),
    pixel_size_nm: float | None = None,
) -> AuditImages:
    """Read the real images of an audit, and put all on one scale.

    Parameters
    ----------
    made
        Synthetic images of one shape, in grey levels.
    real
        Files and folders of real images.
    learned_sha256
        Hashes of those that were learned from, as a model's card has them.
    learned
        Files and folders of those that were learned from, where there is no card.
    pixel_size_nm
        In place of what the files say.

    Raises
    ------
    UsageError
        If none of the images was learned from, sizes differ, or a pixel is no number.
    """
    known = set(learned_sha256)
    read_in = {
        path: read(path, pixel_size_nm=pixel_size_nm) for path in image_paths([*real, *learned])
    }
    if learned:
        known |= {hash_of(np.asarray(field_of(read_in[p]))) for p in image_paths(list(learned))}
    shape = made[0].shape
    groups: tuple[list[NDArray[Any]], list[NDArray[Any]]] = ([], [])
    others = []
    seen: set[str] = set()
    for path, image in read_in.items():
        raw = np.asarray(field_of(image))
        _check_finite(raw, path.name)
        if (its_hash := hash_of(raw)) in seen:
            continue  # the same image in another folder: a copy would be as near as can be
        seen.add(its_hash)
        if raw.shape != shape:
            raise UsageError(
                f"{path.name} of shape {raw.shape} was given, and the synthetic images are of "
                f"{shape}: give real images of that size."
            )
        is_other = its_hash not in known
        groups[is_other].append(raw)
        if is_other:
            others.append(image.crop_data_bar())
    if not groups[0]:
        raise UsageError(
            f"None of the {len(groups[1])} real images is one that was learned from: give those, "
            "too, as copies of them are looked for."
        )
    grey = grey_range([image for group in groups for image in group], "linear")
    if grey is None:
        raise UsageError("The real images have one grey level: there is nothing to compare.")
    ours, known_ones, held_out = (
        [grey.normalise(image) for image in group] for group in (made, *groups)
    )
    return AuditImages(ours, known_ones, held_out, others)


def read_made(places: Sequence[str], *, pixel_size_nm: float | None = None) -> list[Micrograph]:
    """Read synthetic images that there are, without their data bars.

    Raises
    ------
    UsageError
        If they are of several sizes, or a pixel is no number.
    """
    made = []
    for path in image_paths(list(places)):
        made.append(read(path, pixel_size_nm=pixel_size_nm).crop_data_bar())
        _check_finite(np.asarray(made[-1].pixels), path.name)
    if len({image.shape for image in made}) > 1:
        raise UsageError("The synthetic images are of several sizes: give images of one size.")
    return made


def _check_finite(pixels: NDArray[Any], name: str) -> None:
    if not np.isfinite(pixels).all():
        raise UsageError(f"{name} has pixels that are no numbers: fill them, or leave it out.")


def draw_grid(
    made: Sequence[Image], learned: Sequence[Image], found: Audit, path: Path, *, overwrite: bool
) -> None:
    """Draw synthetic images, each above the training image that it is most like.

    Those that are most like one come first: copies are seen at once.
    """
    from matplotlib.figure import Figure

    order = np.argsort(-found.copies.fine)[:_SHOWN]
    columns = min(6, len(order))
    lines = 2 * -(-len(order) // columns)
    figure = Figure(figsize=(1.9 * columns, 2.1 * lines), layout="constrained", dpi=110)
    for axes in figure.subplots(lines, columns, squeeze=False).ravel():
        axes.set_axis_off()
    axes = np.asarray(figure.axes).reshape(lines, columns)
    for place, n in enumerate(order.tolist()):
        row, column = 2 * (place // columns), place % columns
        nearest = int(found.copies.nearest[n])
        copy = ", a copy" if n in found.copies.copies else ""
        for offset, image, title in (
            (0, made[n], f"synthetic {n}{copy}"),
            (1, learned[nearest], f"nearest: {nearest} ({found.copies.fine[n]:.2f})"),
        ):
            axes[row + offset, column].imshow(image, cmap="gray", vmin=-1, vmax=1)
            axes[row + offset, column].set_title(title, fontsize=7)
    with atomic_path(path, overwrite=overwrite) as temporary:
        figure.savefig(temporary, format="png")
