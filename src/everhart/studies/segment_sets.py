"""What the studies of segmentation learn from and are judged by, with splits that are honest."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from everhart.io import read, write
from everhart.micrograph import Micrograph

__all__ = ["SETS", "LabelledSet", "Split", "labelled_set", "truth_of"]


@dataclass(frozen=True)
class Split:
    """Places of the fields, in their order, that are learned from, and that judge.

    Parameters
    ----------
    learned
        Fields whose images may be seen; labels are given to some of them alone.
    tested
        Fields that judge.
    gap
        Neighbours of a tested field that are not learned from.
    """

    learned: tuple[int, ...]
    tested: tuple[int, ...]
    gap: int

    def labelled(self, count: int | None) -> tuple[int, ...]:
        """Return the fields whose labels are given, evenly over those that are learned from."""
        if count is None or count >= len(self.learned):
            return self.learned
        at = (np.arange(count) + 0.5) * len(self.learned) / count
        return tuple(self.learned[int(place)] for place in at)


@dataclass(frozen=True)
class LabelledSet:
    """A set of labelled images in a folder.

    Parameters
    ----------
    name
        Its name.
    data
        Section ``data`` of a training's config.
    settings
        Further settings of a training on it: classes, borders, scale.
    count
        Number of fields.
    gap
        Neighbours of a field that are alike.
    rare
        Name of its rarest class, or "".
    """

    name: str
    data: Mapping[str, Any]
    settings: Mapping[str, Any]
    count: int
    gap: int
    rare: str = ""
    turns: bool = True
    classes: tuple[str, ...] = field(default=())

    def split(self, number: int, of: int = 3) -> Split:
        """Return one of several splits: a block of fields judges, another each time.

        Fields in the gap beside the block are in neither part.
        """
        edges = np.linspace(0, self.count, of + 1).round().astype(int)
        first, last = int(edges[number % of]), int(edges[number % of + 1])
        barred = range(first - self.gap, last + self.gap)
        learned = tuple(place for place in range(self.count) if place not in barred)
        return Split(learned, tuple(range(first, last)), self.gap)

    def files(self) -> tuple[list[Path], list[Path]]:
        """Return images and label images, in the order of the fields."""
        folder = Path(str(self.data["folder"]))
        images = sorted(folder.glob(str(self.data["images"])))
        labels = sorted(folder.glob(str(self.data["labels"])))
        return images, labels


_REAL: Final[Mapping[str, Mapping[str, Any]]] = {
    "alpt": {
        "classes": {"pore": 0, "alumina": 1, "platinum": 2},
        "count": 45,
        "gap": 3,
        "rare": "platinum",
        "labels": "alpt-labels/*.png",
    },
    "isbi": {
        "classes": {"membrane": 0, "cell": 255},
        "count": 20,
        "gap": 1,
        "rare": "membrane",
        "labels": "isbi-labels/*.png",
    },
    "emps": {
        "classes": {"background": 0, "particle": "rest"},
        "count": 42,
        "gap": 0,
        "rare": "particle",
        "labels": "emps-instances/*.png",
    },
    "vnc": {
        "classes": {"other": 0, "membrane": "rest"},
        "count": 8,
        "gap": 1,
        "rare": "membrane",
        "labels": "vnc-membranes/*.png",
    },
}

SETS: Final = ("stack", "particles", *_REAL)
"""Names of the sets: the simulated ones, and those of the shared data."""


def labelled_set(name: str, folder: Path, size_px: int, count: int) -> LabelledSet | None:
    """Return a set, made where it is simulated; None where the real images are not here.

    Parameters
    ----------
    name
        Of :data:`SETS`.
    folder
        Where simulated images go.
    size_px, count
        Edge and number of simulated images.
    """
    if name in _REAL:
        return _real(name, _REAL[name])
    place = folder / f"{name}-{size_px}"
    makers = {"stack": _stack, "particles": _lattice_particles}
    for number in range(count):
        target = place / "images" / f"{name}_{number:03d}.tif"
        if target.is_file():
            continue
        image, labels = makers[name](np.random.default_rng([77, number]), size_px)
        for what, pixels in (("labels", labels), ("images", image)):
            (place / what).mkdir(parents=True, exist_ok=True)
            write(pixels, place / what / target.name, overwrite=True)
    names = {
        "stack": ("fill", "metal", "high-k", "oxide", "substrate", "trench oxide"),
        "particles": ("background", "particle"),
    }[name]
    return LabelledSet(
        name,
        {"folder": str(place.resolve()), "images": "images/*.tif", "labels": "labels/*.tif"},
        {"classes": {class_name: number for number, class_name in enumerate(names)}},
        count,
        0,
        {"stack": "oxide", "particles": "particle"}[name],
        turns=name == "particles",
        classes=names,
    )


def _real(name: str, known: Mapping[str, Any]) -> LabelledSet | None:
    folder = os.environ.get("EVERHART_DATA")
    if folder is None or not (Path(folder) / "tem-seg").is_dir():
        return None
    return LabelledSet(
        name,
        {
            "folder": str((Path(folder) / "tem-seg").resolve()),
            "images": f"{name}-images/*.png",
            "labels": known["labels"],
            "pairing": "order",
        },
        {"classes": dict(known["classes"])},
        known["count"],
        known["gap"],
        known["rare"],
        classes=tuple(known["classes"]),
    )


def _stack(rng: np.random.Generator, size_px: int) -> tuple[Micrograph, Micrograph]:
    from everhart.simulate import Camera, simulate

    scene = simulate("stack", shape=(size_px, size_px), rng=rng)
    image = Camera().expose(scene, rng, 1)
    assert isinstance(image, Micrograph)
    return image, Micrograph(scene.truth.labels.astype(np.uint8), scene.pixel_size_nm)


def _lattice_particles(rng: np.random.Generator, size_px: int) -> tuple[Micrograph, Micrograph]:
    """Particles that hardly differ from their support but by the fringes of their lattice."""
    from everhart.simulate import simulate

    # Sizes in nm are those of the scene's default pixels; only its labels are used.
    scene = simulate(
        "particles",
        shape=(size_px, size_px),
        pixel_size_nm=1.0,
        median_diameter_nm=26.0,
        sigma_log=0.3,
        max_diameter_nm=60.0,
        coverage=0.3,
        rng=rng,
    )
    objects = scene.truth.labels.astype(np.int64)
    y, x = np.mgrid[:size_px, :size_px].astype(np.float64)
    level = np.full(objects.shape, 40.0)
    for number in np.unique(objects[objects > 0]):
        angle, period = rng.uniform(0, np.pi), rng.uniform(3.0, 5.0)
        wave = np.cos(
            2 * np.pi * (np.cos(angle) * x + np.sin(angle) * y) / period + rng.uniform(0, 6.28)
        )
        inside = objects == number
        level[inside] -= rng.uniform(1.0, 4.0) + rng.uniform(2.0, 6.0) * wave[inside]
    counts = rng.poisson(np.maximum(level, 0)).astype(np.uint16)
    return Micrograph(counts, (0.1, 0.1)), Micrograph((objects > 0).astype(np.uint8), (0.1, 0.1))


def truth_of(labels: Path, classes: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Return the numbers of the classes of a label image, in the order of `classes`."""
    pixels = read(labels).pixels
    out = np.zeros(pixels.shape, np.uint8)
    rest: Sequence[int] = [n for n, value in enumerate(classes.values()) if value == "rest"]
    if rest:
        out[:] = rest[0]
    for number, value in enumerate(classes.values()):
        if value != "rest":
            out[pixels == value] = number
    return out
