"""The images of an audit: real ones told apart by what was learned from, and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.io import image_paths, read
from everhart.io.atomic import atomic_path
from everhart.micrograph import field_of
from everhart.synthesize.audit import Audit
from everhart.synthesize.generator import Generator
from everhart.synthesize.training_images import hash_of

__all__ = ["draw_grid", "real_images"]

Image = NDArray[np.float32]

_SHOWN = 12


def real_images(generator: Generator, places: Sequence[str]) -> tuple[list[Image], list[Image]]:
    """Read real images, those that a generator learned from apart.

    Parameters
    ----------
    generator
        The generator; its card knows what it learned from.
    places
        Files and folders; images of another size than it draws are refused.

    Returns
    -------
    learned, held_out
        On the generator's grey scale.

    Raises
    ------
    UsageError
        If none of the images was learned from, or sizes differ.
    """
    known = set((generator.header.card.model_extra or {}).get("learned_sha256", ()))
    learned: list[Image] = []
    held_out: list[Image] = []
    for path in image_paths(list(places)):
        raw = np.asarray(field_of(read(path)))
        if raw.shape != generator.shape:
            raise UsageError(
                f"{path.name} of shape {raw.shape} was given, and the generator draws images of "
                f"{generator.shape}: give real images of that size."
            )
        (learned if hash_of(raw) in known else held_out).append(generator.grey.normalise(raw))
    if not learned:
        raise UsageError(
            f"None of the {len(held_out)} real images is one that the generator learned from: "
            "give those too, as copies of them are looked for."
        )
    return learned, held_out


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
