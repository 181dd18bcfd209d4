"""What a study is: rows to be computed, the paper's figures, and the orderings it claims."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

__all__ = ["SCALES", "AnyStudy", "Ordering", "Progress", "Row", "Scale", "Study"]

Progress = Callable[[str], None]
"""Is told, in a line, what is being done."""


@dataclass(frozen=True)
class Scale:
    """How large a study is run.

    Parameters
    ----------
    name
        ``"smoke"``, ``"cpu"`` or ``"gpu"``.
    shape
        ``(H, W)`` of the simulated images.
    seeds
        How often everything is repeated, with other scenes, noise and weights.
    unet, fbi_net
        Settings of a training with either network, merged over the recipe's.
    fixed_crops
        Number of crops that a memorising training sees again and again.
    """

    name: str
    shape: tuple[int, int]
    seeds: int
    unet: Mapping[str, Any]
    fbi_net: Mapping[str, Any]
    fixed_crops: int


def _settings(
    network: Mapping[str, Any], steps: int, batch: int, crop_px: int, **more: Any
) -> dict[str, Any]:
    optimiser = {"steps": steps, "batch_size": batch, "learning_rate": 1e-3, **more}
    return {"network": dict(network), "crop_px": crop_px, "optimiser": optimiser}


_ONE_THREAD = {"threads": 1, "steps_per_epoch": 100}

SCALES: Mapping[str, Scale] = {
    scale.name: scale
    for scale in (
        Scale(
            "smoke",
            shape=(256, 384),
            seeds=1,
            unet=_settings(
                {"kind": "unet", "widths": [8, 16, 32]}, 150, 4, 64, threads=1, ema_decay=0.95
            ),
            fbi_net=_settings(
                {"kind": "fbi_net", "layers": 5, "filters": 8}, 60, 2, 64, threads=1, ema_decay=0.9
            ),
            fixed_crops=8,
        ),
        Scale(
            "cpu",
            shape=(1024, 1536),
            seeds=3,
            unet=_settings({"kind": "unet", "widths": [24, 48, 96]}, 1000, 8, 128, **_ONE_THREAD),
            fbi_net=_settings(
                {"kind": "fbi_net", "layers": 11, "filters": 16}, 600, 2, 128, **_ONE_THREAD
            ),
            fixed_crops=24,
        ),
        # The paper's own: 21,600 crops of 256 pixels, 10 epochs, batches of 4 and of 1.
        Scale(
            "gpu",
            shape=(2048, 3072),
            seeds=3,
            unet=_settings({"kind": "unet", "widths": [48, 96, 192, 384]}, 54_000, 4, 256),
            fbi_net=_settings({"kind": "fbi_net", "layers": 17, "filters": 64}, 216_000, 1, 256),
            fixed_crops=21_600,
        ),
    )
}


@dataclass(frozen=True)
class Row:
    """One row of a table: a method, and what the paper says of it.

    Parameters
    ----------
    key
        Short name without blanks, unique in the study.
    title
        What stands in the table.
    classical
        Name of a classical method, with its parameters.
    recipe
        Training config, merged over the scale's: a row is classical or trained, or neither
        (the input itself).
    network
        ``"unet"`` or ``"fbi_net"``.
    memorising
        Whether the training sees a few fixed crops without flips instead of ever new ones.
    input_frames
        Frame count of the images that are restored.
    training_frames
        Frames that the data of the recipe cost for one scene.
    paper
        The paper's figures by column, where they are known.
    """

    key: str
    title: str
    classical: tuple[str, Mapping[str, Any]] | None = None
    recipe: Mapping[str, Any] | None = None
    network: str = "unet"
    memorising: bool = False
    input_frames: int = 1
    training_frames: int = 0
    paper: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ordering:
    """A claim: one row has the better figure than another.

    Parameters
    ----------
    better, worse
        Keys of rows.
    column
        Column that is compared: PSNR is better when higher, failures when fewer.
    paper
        By how much in the paper, where it is known.
    within
        Where set, the claim is that `better` loses at most that much to `worse`.
    """

    better: str
    worse: str
    column: str
    paper: float | None = None
    within: float | None = None


class AnyStudy(Protocol):
    """What the command line needs of a study."""

    @property
    def name(self) -> str:
        """Name on the command line."""

    @property
    def title(self) -> str:
        """What it shows."""

    def run(
        self, scale: Scale, folder: Path, *, seeds: int | None, progress: Progress
    ) -> dict[str, Any]:
        """Run it, or go on; write ``NAME/table.md`` and ``NAME/results.json`` in `folder`."""


@dataclass(frozen=True)
class Study:
    """A table of a paper, to be run on the simulated wafer.

    Parameters
    ----------
    name
        Name on the command line.
    title
        What it shows, with its place in the paper.
    rows
        The rows, in the order of the table.
    orderings
        What the paper concludes from it.
    pictures
        Keys of the rows that the picture shows side by side.
    """

    name: str
    title: str
    rows: Sequence[Row]
    orderings: Sequence[Ordering] = ()
    pictures: Sequence[str] = ()

    def run(
        self, scale: Scale, folder: Path, *, seeds: int | None, progress: Progress
    ) -> dict[str, Any]:
        """Run the study; see :func:`everhart.studies.runner.run_study`."""
        from everhart.studies.runner import run_study

        return run_study(self, scale, folder, seeds=seeds, progress=progress)
