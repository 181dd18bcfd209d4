"""Train a denoiser from a config: ``everhart train CONFIG.yaml -o RUN``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.micrograph import __version__
from everhart.nn.hardware import resolve_device
from everhart.restore.architectures import RestorationNetwork, config_for_header, make_network
from everhart.restore.config import CardConfig, DenoiserConfig
from everhart.restore.frames_source import FramesSource
from everhart.restore.guard import check_noise
from everhart.restore.models import find_model
from everhart.restore.network import KIND
from everhart.restore.sources import Source, augment, load_source
from everhart.restore.tasks import DenoisingTask, make_task
from everhart.training.config import load_config
from everhart.training.engine import fit
from everhart.training.model_file import ModelCard, ModelHeader, load_model, save_model
from everhart.training.run_folder import MODEL_NAME, check_run, start_run

__all__ = ["CardConfig", "DenoiserConfig", "DenoisingTask", "MixedSource", "train"]

_BY_IMAGE = {"kind": "image", "mean": 0.0, "deviation": 1.0}


class MixedSource:
    """Samples from several sources, each by its weight, made into what a recipe learns from.

    Parameters
    ----------
    sources
        The sources.
    config
        The training's config.
    judged
        Whether the samples are to judge by: then nothing is dropped or hidden, and each comes
        with the share of its difference that is noise of the target.
    """

    def __init__(
        self, sources: Sequence[Source], config: DenoiserConfig, *, judged: bool = False
    ) -> None:
        smallest = min(source.smallest_px for source in sources)
        if smallest < config.crop_px:  # said now, not when the image is drawn, hours later
            raise UsageError(
                f"The smallest training image is {smallest} pixels wide or high (registered pairs "
                f"lose their borders) and crop_px is {config.crop_px}: lower crop_px or leave "
                "small images out."
            )
        weights = [c.weight for c in (config.validation if judged else config.data)]
        self.sources = list(sources)
        self.shares = np.cumsum(np.asarray(weights) / np.sum(weights))
        self.config, self.judged = config, judged

    def __call__(self, rng: np.random.Generator) -> tuple[Any, ...]:
        """Draw one sample: images of shape ``(planes, crop, crop)``."""
        index = min(int(np.searchsorted(self.shares, rng.random())), len(self.sources) - 1)
        source, crop = self.sources[index], self.config.crop_px
        share = 0.0
        if isinstance(source, FramesSource):
            noisy, target, share = source.draw_judged(rng, crop)
        else:
            noisy, target = source.draw(rng, crop)
        if source.flips:
            noisy, target = augment((noisy, target), rng)
        if self.judged:
            return self._planes(noisy, np.ones_like(noisy)), target[None], np.float32(share)
        if self.config.recipe == "fbi":
            return (noisy[None],)
        if self.config.masking is not None:
            masked, mask = self.config.masking.apply(noisy, rng)
            return masked[None], noisy[None], mask[None]
        dropout = self.config.input_dropout
        if dropout is None:
            return noisy[None], target[None]
        kept, share_kept = dropout.draw(rng, (crop, crop))
        scale = np.float32(1 / share_kept if dropout.rescale else 1)
        return self._planes(noisy * kept * scale, kept), target[None]

    def _planes(self, noisy: NDArray[np.float32], mask: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.stack([noisy, mask] if self.config.network.mask_plane else [noisy])


def train(
    config_path: Path | str,
    run: Path | str,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    progress: bool = False,
) -> Path:
    """Train a denoiser.

    Parameters
    ----------
    config_path
        YAML config; see :class:`DenoiserConfig`.
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
        If the config is wrong, or the folder holds another run.
    """
    config = load_config(DenoiserConfig, config_path, overrides)
    folder = Path(run)
    if check_run(folder, config, resume=resume):
        return folder / MODEL_NAME
    resolve_device(config.optimiser.device)
    full_range = config.normalisation == "range"
    sources = [
        load_source(c, config.seed, config.recipe, full_range=full_range) for c in config.data
    ]
    samples = MixedSource(sources, config)
    validation = None
    if config.validation:
        held_out = [
            load_source(c, config.seed + 1, config.recipe, judged=True, full_range=full_range)
            for c in config.validation
        ]
        validation = MixedSource(held_out, config, judged=True)
    if config.recipe in ("n2v", "fbi"):
        check_noise(config.recipe, sources, config.masking.scan_line_px if config.masking else 0)
    torch.manual_seed(config.seed)
    network = make_network(config.network)
    if config.start_from is not None and not resume:
        _take_weights(network, find_model(os.path.expandvars(config.start_from)))
    task = make_task(network, config)
    start_run(folder, config)
    figures = fit(
        task,
        samples,
        run=folder,
        seed=config.seed,
        validation=validation,
        n_validation=config.validation_samples if validation else 0,
        resume=resume,
        progress=progress,
    )
    card = ModelCard(
        **config.card.model_dump(),
        recipe=config.recipe,
        data_sha256=_combined([source.sha256 for source in sources]),
        seed=config.seed,
        metrics={name: round(value, 5) for name, value in figures.items()},
        everhart_version=__version__,
    )
    architecture, network_config = config_for_header(network)
    normalisation = {"kind": "range"} if full_range else _BY_IMAGE
    header = ModelHeader(
        kind=KIND,
        architecture=architecture,
        config=network_config,
        normalisation=normalisation,
        inference=config.input_dropout.inference if config.input_dropout else {},
        card=card,
    )
    weights = task.network.state_dict()
    return save_model(
        folder / MODEL_NAME, header, weights, dtype=config.weights_dtype, overwrite=True
    )


def _take_weights(network: RestorationNetwork, path: Path) -> None:
    """Start a network from a model's weights; layers that the model does not have stay new.

    A model of other widths is refused: of its weights none would be of use.
    """
    loaded = load_model(path, KIND)
    own = network.state_dict()
    misfit = [
        name for name, w in loaded.weights.items() if name not in own or own[name].shape != w.shape
    ]
    if misfit:
        architecture, asked = config_for_header(network)
        raise UsageError(
            f"start_from = {path.name} is a {loaded.header.architecture} "
            f"{loaded.header.config}, and the config asks for a {architecture} {asked}: give the "
            "same widths, kind, planes and output (blend may start from direct)."
        )
    network.load_state_dict(loaded.weights, strict=False)


def _combined(hashes: Sequence[str]) -> str:
    return hashlib.sha256("".join(hashes).encode()).hexdigest()
