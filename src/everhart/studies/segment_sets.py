"""What the studies of segmentation learn from and are judged by, with splits that are honest."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from everhart.io import read, write
from everhart.micrograph import Micrograph

__all__ = ["SETS", "LabelledSet", "Place", "Split", "labelled_set"]


class Place(NamedTuple):
    """Where a field lies: fields of one part with slices nearby show nearly the same."""

    part: str
    slice: int


_FEWEST_SHOWN: Final = 3
"""Fields that are left to choose those from that are labelled."""


@dataclass(frozen=True)
class Split:
    """Fields, by their number, that are learned from, and that judge.

    Parameters
    ----------
    learned
        Fields whose images may be seen.
    tested
        Fields that judge.
    shown
        Those of `learned` that show every class, and of these the third with the most of the
        rarest one, most first: of these some are labelled, as a person would choose them.
    """

    learned: tuple[int, ...]
    tested: tuple[int, ...]
    shown: tuple[int, ...]

    def labelled(self, count: int | None) -> tuple[int, ...]:
        """Return the fields whose labels are given: the one that shows classes best, and others.

        The others are evenly over the rest of those that show classes well, and over all others
        where these are too few.
        """
        if count is None or count >= len(self.learned):
            return self.learned
        if count <= len(self.shown):
            return tuple(self.shown[n * len(self.shown) // count] for n in range(count))
        rest, more = sorted(set(self.learned) - set(self.shown)), count - len(self.shown)
        return (*self.shown, *(rest[n * len(rest) // more] for n in range(more)))


@dataclass(frozen=True)
class LabelledSet:
    """A set of labelled images in a folder.

    Parameters
    ----------
    name
        Its name.
    data
        Section ``data`` of a training's config.
    classes
        Label values by class, as a training's config has them.
    places
        Where each field lies, in the sorted order of the files.
    gap
        Slices beside a tested one that are not learned from.
    rare
        Name of its rarest class.
    turns
        Whether quarter turns leave the specimen what it is.
    normalisation
        ``"set"`` where a grey level means the same in all images, as a training's config has it.
    augmentation
        How crops are changed beside flips and turns, as a training's config has it.
    """

    name: str
    data: Mapping[str, Any]
    classes: Mapping[str, Any]
    places: tuple[Place, ...]
    gap: int
    rare: str
    turns: bool = True
    normalisation: str = "image"
    augmentation: Mapping[str, Any] = field(default_factory=lambda: {"zoom": [0.8, 1.25]})

    @property
    def simulated(self) -> bool:
        """Whether it is made here."""
        return self.name not in _REAL

    def split(self, number: int, of: int = 3) -> Split:
        """Return one of several splits: a block of slices of every part judges.

        Slices in the gap beside the block are neither learned from nor judge.
        """
        slices = sorted({place.slice for place in self.places})
        edges = np.linspace(0, len(slices), of + 1).round().astype(int)
        block = slices[int(edges[number % of]) : int(edges[number % of + 1])]
        low, high = block[0], block[-1]
        tested = tuple(n for n, p in enumerate(self.places) if low <= p.slice <= high)
        learned = tuple(
            n for n, p in enumerate(self.places) if not low - self.gap <= p.slice <= high + self.gap
        )
        truths = self.truths()
        counts = {n: np.bincount(truths[n].ravel(), minlength=len(self.classes)) for n in learned}
        every = [n for n in learned if (counts[n] > 0).all()]
        rare = list(self.classes).index(self.rare)
        richest = sorted(every, key=lambda n: -int(counts[n][rare]))
        shown = richest[: max(_FEWEST_SHOWN, len(every) // 3)]
        return Split(learned, tested, tuple(shown))

    def nearest(self, labelled: Sequence[int], field: int) -> int:
        """Return the labelled field most like another: of its part, by the nearest slice."""
        own = self.places[field]

        def away(other: int) -> tuple[bool, int, int]:
            place = self.places[other]
            return place.part != own.part, abs(place.slice - own.slice), other

        return min((n for n in labelled if n != field), key=away)

    def images(self) -> list[Path]:
        """Return the files of the images."""
        return sorted(Path(str(self.data["folder"])).glob(str(self.data["images"])))

    def truths(self) -> list[NDArray[np.uint8]]:
        """Return the classes of the pixels of every field."""
        files = sorted(Path(str(self.data["folder"])).glob(str(self.data["labels"])))
        return [_truth_of(file, self.classes) for file in files]


_REAL: Final[Mapping[str, Mapping[str, Any]]] = {
    "alpt": {
        "classes": {"pore": 0, "alumina": 1, "platinum": 2},
        "gap": 2,
        "rare": "platinum",
        "labels": "alpt-labels/*.png",
        # How much alumina is in an image goes from 4 to 40 %, and would set its scale.
        "normalisation": "set",
        # Grains of one image are several times larger than those of another, and grey levels, which
        # mean the same in all of them, stay what they are.
        "augmentation": {"zoom": [0.6, 3.0], "count": 0},
    },
    "isbi": {
        "classes": {"membrane": 0, "cell": 255},
        "gap": 1,
        "rare": "membrane",
        "labels": "isbi-labels/*.png",
    },
    "emps": {
        "classes": {"background": 0, "particle": "rest"},
        "gap": 0,
        "rare": "particle",
        "labels": "emps-instances/*.png",
    },
    "vnc": {
        "classes": {"other": 0, "membrane": "rest"},
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
        {class_name: number for number, class_name in enumerate(names)},
        tuple(Place("", number) for number in range(count)),
        0,
        {"stack": "oxide", "particles": "particle"}[name],
        turns=name == "particles",
    )


def _real(name: str, known: Mapping[str, Any]) -> LabelledSet | None:
    given = os.environ.get("EVERHART_DATA")
    folder = Path(given or "") / "tem-seg"
    if given is None or not folder.is_dir():
        return None
    images = sorted((folder / f"{name}-images").glob("*.png"))
    places = tuple(Place("", number) for number in range(len(images)))
    if name == "alpt":
        places = _slices(folder, images)
    return LabelledSet(
        name,
        {
            "folder": str(folder.resolve()),
            "images": f"{name}-images/*.png",
            "labels": known["labels"],
            "pairing": "order",
        },
        known["classes"],
        places,
        known["gap"],
        known["rare"],
        **{key: known[key] for key in ("normalisation", "augmentation") if key in known},
    )


def _slices(folder: Path, images: Sequence[Path]) -> tuple[Place, ...]:
    """Return stack, patch and slice of the `alpt` images, which their first names tell.

    Sorted by name, the two patches of a slice take turns, and some are missing: neighbours in that
    order show different places.
    """
    with (folder / "manifest.csv").open(encoding="utf-8", newline="") as table:
        paths = {row["file"]: row["path"] for row in csv.DictReader(table)}
    found = []
    for image in images:
        match = re.search(r"_al_(\d)(\d+)\.tifpatch_(\d+)", paths[f"alpt-images/{image.name}"])
        assert match is not None, image
        found.append(Place(f"{match[1]}-{match[3]}", int(match[2])))
    return tuple(found)


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


def _truth_of(labels: Path, classes: Mapping[str, Any]) -> NDArray[np.uint8]:
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
