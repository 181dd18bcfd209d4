"""Guidance: what a sample is to be, by the generator itself or by the gradient of a classifier."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from everhart.errors import UsageError, unknown_name
from everhart.nn.hardware import resolve_device
from everhart.nn.noisy_classifier import NoisyClassifier, NoisyClassifierConfig
from everhart.synthesize.samplers import Predict
from everhart.synthesize.schedule import NoiseSchedule
from everhart.training.model_file import ModelHeader, load_model

__all__ = ["Guide", "by_classifier", "without_classifier"]

KIND = "noisy-classifier"
ARCHITECTURE = "NoisyClassifier"

LogProbability = Callable[[Tensor, Tensor], Tensor]
"""``log_probability(x, t)`` of the class that is wanted: ``(N,)`` for a batch at steps ``(N,)``."""


def without_classifier(conditioned: Predict, open_: Predict, guidance: float) -> Predict:
    """Return a network whose condition counts more (or less) than learned [1]_.

    Parameters
    ----------
    conditioned, open_
        The network with the condition, and with it left open.
    guidance
        Weight of the condition: 1 as learned.

    References
    ----------
    .. [1] J. Ho, T. Salimans, "Classifier-free diffusion guidance", 2022, equation 6.
    """
    if guidance == 1:
        return conditioned

    def guided(x: Tensor, t: Tensor) -> Tensor:
        plain = open_(x, t)
        return plain + guidance * (conditioned(x, t) - plain)

    return guided


def by_classifier(
    predict: Predict,
    log_probability: LogProbability,
    schedule: NoiseSchedule,
    guidance: float = 1.0,
) -> Predict:
    """Return a network that is drawn to a class by the gradient of its probability [1]_.

    Parameters
    ----------
    predict
        The network, which knows nothing of the class.
    log_probability
        Of the class, for noisy images.
    schedule
        Schedule that both were trained with.
    guidance
        Weight of the gradient: with 1 and a perfect classifier, samples are those of the class.

    References
    ----------
    .. [1] P. Dhariwal, A. Nichol, "Diffusion models beat GANs on image synthesis", NeurIPS 2021,
       equation 14 and algorithm 2.
    """

    def guided(x: Tensor, t: Tensor) -> Tensor:
        said = predict(x, t)
        with torch.enable_grad():
            seen = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(log_probability(seen, t).sum(), seen)
        a, s = schedule.levels(t, x)
        noise_less = guidance * s * gradient
        # v = a noise - s x0, and x0 = (x - s noise) / a: less noise by d is less v by d / a.
        return said - (noise_less if schedule.prediction == "noise" else noise_less / a)

    return guided


class Guide:
    """A trained classifier of noisy images.

    Parameters
    ----------
    network
        The network.
    header
        Header of its model file.
    sha256
        Hash of the model file, for the history.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    """

    def __init__(
        self, network: NoisyClassifier, header: ModelHeader, sha256: str, *, device: str = "auto"
    ) -> None:
        self.device = resolve_device(device)
        self.network = network.eval().requires_grad_(False).to(self.device)
        self.header, self.sha256 = header, sha256
        self.classes: tuple[str, ...] = tuple(header.normalisation["classes"])

    @classmethod
    def load(cls, path: Path | str, *, device: str = "auto") -> Self:
        """Load a model file.

        Raises
        ------
        UsageError
            If there is no such file, or no such device.
        FileFormatError
            If it is no classifier's model file.
        """
        loaded = load_model(Path(path), KIND)
        network = NoisyClassifier(NoisyClassifierConfig.model_validate(loaded.header.config))
        network.load_state_dict(loaded.weights)
        return cls(network, loaded.header, loaded.sha256, device=device)

    def check(self, label: str | None, generator: Mapping[str, Any]) -> int:
        """Check that it fits a generator and knows a class, and return the class's number.

        Parameters
        ----------
        label
            Name of the class.
        generator
            Normalisation of the generator's header.

        Raises
        ------
        UsageError
            If no label was given or it is unknown, or the classifier sees other grey levels or
            other noise than the generator.
        """
        own = self.header.normalisation
        for name in ("middle", "half", "dtype"):
            if own[name] != generator[name]:
                raise UsageError(
                    "A classifier was given that was trained for another generator (it sees other "
                    "grey levels): train one with generator = this generator's model file."
                )
        # Models of before had no shift.
        schedules = [{"shift": 1.0} | {k: v for k, v in s["schedule"].items() if k != "prediction"}
                     for s in (own, generator)]  # fmt: skip
        if schedules[0] != schedules[1]:
            raise UsageError(
                f"A classifier for the noise schedule {schedules[0]} was given to a generator with "
                f"{schedules[1]}: train one with generator = this generator's model file."
            )
        if label is None:
            raise UsageError(
                f"A classifier was given without a label: give one of {', '.join(self.classes)}."
            )
        if label not in self.classes:
            raise unknown_name("label", label, self.classes)
        return self.classes.index(label)

    def log_probability(self, number: int, position: Tensor | None) -> LogProbability:
        """Return the log-probability of a class, for images that lie at a position.

        Parameters
        ----------
        number
            Of the class.
        position
            ``(N, 3, H, W)`` as the generator is told; not used by a classifier without position.
        """
        told = position if self.network.config.position else None

        def of(x: Tensor, t: Tensor) -> Tensor:
            scores: Tensor = self.network(x, t, told)
            return scores.float().log_softmax(dim=1)[:, number]

        return of
