"""Pretrain a network on images without labels: ``everhart train CONFIG.yaml -o RUN``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.micrograph import __version__
from everhart.nn.hardware import resolve_device
from everhart.restore.architectures import config_for_header, make_network
from everhart.restore.normalise import GreyScale
from everhart.restore.source_base import Image, hash_of, random_window
from everhart.restore.sources import PairsConfig, load_pairs
from everhart.restore.unet_config import RestorationUNetConfig
from everhart.segment.labelled import split
from everhart.segment.pretraining_config import PretrainingConfig
from everhart.segment.pretraining_task import make_task
from everhart.training.config import load_config
from everhart.training.engine import fit
from everhart.training.model_file import ModelCard, ModelHeader, save_model
from everhart.training.run_folder import MODEL_NAME, check_run, start_run

__all__ = ["NoisyCrops", "poisson_pair", "train"]


def train(
    config_path: Path | str,
    run: Path | str,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    progress: bool = False,
) -> Path:
    """Pretrain a network.

    The result is a denoiser, which ``everhart denoise`` takes as well as ``start_from`` of a
    segmentation.

    Parameters
    ----------
    config_path
        YAML config; see :class:`everhart.segment.pretraining_config.PretrainingConfig`.
    run
        Folder for the run: the checked config, curves, checkpoints and, at the end,
        ``model.safetensors``.
    overrides
        ``key=value`` settings that replace those of the file.
    resume
        Whether to go on with a run that was interrupted; one that is done is left as it is.
    progress
        Whether to show a progress bar.

    Returns
    -------
    Path
        The model file.

    Raises
    ------
    UsageError
        If the config or the images are wrong, or the folder holds another run.
    """
    config = load_config(PretrainingConfig, config_path, overrides)
    folder = Path(run)
    if check_run(folder, config, resume=resume):
        return folder / MODEL_NAME
    resolve_device(config.optimiser.device)
    learned, judged = load_crops(config)
    torch.manual_seed(config.seed)
    network = make_network(
        RestorationUNetConfig(widths=config.network.widths, stem=config.network.stem)
    )
    task = make_task(network, config)
    start_run(folder, config)
    figures = fit(
        task,
        learned,
        run=folder,
        seed=config.seed,
        validation=judged,
        n_validation=config.validation_samples if judged else 0,
        resume=resume,
        progress=progress,
    )
    card = ModelCard(
        **config.card.model_dump(),
        recipe=config.task,
        data_sha256=learned.sha256,
        seed=config.seed,
        metrics={name: round(value, 5) for name, value in figures.items()},
        everhart_version=__version__,
    )
    architecture, network_config = config_for_header(network)
    header = ModelHeader(
        kind="denoiser",
        architecture=architecture,
        config=network_config,
        normalisation={"kind": "image", "mean": 0.0, "deviation": 1.0},
        card=card,
    )
    return save_model(
        folder / MODEL_NAME,
        header,
        task.network.state_dict(),
        dtype=config.weights_dtype,
        overwrite=True,
    )


@dataclass(frozen=True)
class NoisyCrops:
    """Crops with noise, and without.

    Parameters
    ----------
    images
        Images with grey levels from 0 to 1 that are given noise; or pairs as networks see them.
    dose_e_per_px
        Range of the dose; None for pairs.
    crop_px
        Edge of the crops.
    """

    images: Sequence[Image] | Sequence[tuple[Image, Image]]
    dose_e_per_px: tuple[float, float] | None
    crop_px: int

    def __call__(self, rng: np.random.Generator) -> tuple[Image, Image]:
        """Draw one sample: two images ``(1, crop, crop)``."""
        chosen = self.images[int(rng.integers(len(self.images)))]
        if self.dose_e_per_px is None:
            noisy, clean = chosen
            window = random_window(rng, noisy.shape, self.crop_px)
            pair = noisy[window], clean[window]
        else:
            assert isinstance(chosen, np.ndarray)
            window = random_window(rng, chosen.shape, self.crop_px)
            dose = float(np.exp(rng.uniform(*np.log(self.dose_e_per_px))))
            pair = poisson_pair(chosen, window, dose, rng)
        for axis in (0, 1):
            if rng.random() < 0.5:
                pair = np.flip(pair[0], axis), np.flip(pair[1], axis)
        return np.ascontiguousarray(pair[0])[None], np.ascontiguousarray(pair[1])[None]

    @property
    def sha256(self) -> str:
        """Hash of the images."""
        return hash_of(part for image in self.images for part in image)


def poisson_pair(
    image: Image, window: tuple[slice, slice], dose: float, rng: np.random.Generator
) -> tuple[Image, Image]:
    """Return a part of an image with Poisson noise and without, as a network sees the whole.

    Parameters
    ----------
    image
        Grey levels from 0 to 1.
    window
        The part.
    dose
        Electrons a pixel of a white pixel.
    rng
        Draws the noise.
    """
    clean = image[window]
    noisy = rng.poisson(clean * np.float32(dose)).astype(np.float32) / np.float32(dose)
    # What the noise adds to the variance of the whole image is its mean signal over the dose.
    mean = np.float32(image.mean())
    deviation = np.float32(np.sqrt(max(float(image.var()) + float(mean) / dose, 1e-12)))
    return (noisy - mean) / deviation, (clean - mean) / deviation


def load_crops(config: PretrainingConfig) -> tuple[NoisyCrops, NoisyCrops | None]:
    """Read the images of a config; those that judge come second.

    Raises
    ------
    UsageError
        If the folder is missing, no image matches, or an image is smaller than a crop.
    """
    from everhart.io import read

    data = config.data
    images: list[Image] | list[tuple[Image, Image]]
    if data.clean is not None:
        pairs = PairsConfig(
            kind="pairs", folder=data.folder, exclude=data.exclude, noisy=data.images,
            clean=data.clean,
        )  # fmt: skip
        names = sorted(pairs.matches(pairs.noisy))
        images = list(load_pairs(pairs).pairs)
        dose = None
    else:
        files = data.matches(data.images)
        if not files:
            raise UsageError(f"{data.path}: no image matches {data.images!r}; correct the pattern.")
        names = [file.stem for file in files.values()]
        images = [_unit(read(file).field_of_view, file.name) for file in files.values()]
        dose = config.dose_e_per_px
    smallest = min(min(i.shape if isinstance(i, np.ndarray) else i[0].shape) for i in images)
    if smallest < config.crop_px:
        raise UsageError(
            f"The smallest image is {smallest} pixels wide or high and crop_px is "
            f"{config.crop_px}: lower crop_px or leave small images out."
        )
    learned, judged = split(names, config.train, config.validation, config.gap)

    def crops(places: list[int]) -> NoisyCrops:
        return NoisyCrops([images[place] for place in places], dose, config.crop_px)  # type: ignore[arg-type]

    return crops(learned), crops(judged) if judged else None


def _unit(pixels: NDArray[Any], name: str) -> Image:
    """Return an image with grey levels from 0 to 1."""
    if pixels.ndim != 2:
        raise UsageError(f"{name} has the shape {pixels.shape}: give single images.")
    if GreyScale.of(pixels).deviation == 0:
        raise UsageError(f"{name} is constant: take it out of the images.")
    values = np.nan_to_num(np.asarray(pixels, np.float32))
    low, high = np.percentile(values, (0.1, 99.9))
    unit = (values - low) / max(float(high - low), 1e-12)
    return np.asarray(np.clip(unit, 0, 1), np.float32)
