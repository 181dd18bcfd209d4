"""The scanning electron microscope: what an instrument makes of a scene (the forward model)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.micrograph import Array, HistoryEntry, Micrograph, field_of
from everhart.simulate.components import (
    Beam,
    BrightnessDrift,
    Charging,
    Converter,
    Detector,
    Dose,
    Scan,
)
from everhart.simulate.sampling import apply_taps, sample_noise
from everhart.simulate.scene import Image, Scene

__all__ = ["Microscope", "sample_noise"]


@dataclass(frozen=True)
class Microscope:
    """A microscope that scans a beam over a scene.

    A shot is made in the order of the instrument: probe, charging shadow, brightness drift,
    drift and jitter of the scan, arrival of electrons with their pulse heights, detector filter
    along the scan line, row offset, readout, conversion. Each part can be None (ideal).

    Parameters
    ----------
    beam, charging, brightness_drift, scan
        See :class:`Beam`, :class:`Charging`, :class:`BrightnessDrift`, :class:`Scan`.
    dose
        See :class:`Dose`; None for no shot noise.
    detector
        See :class:`Detector`.
    converter
        See :class:`Converter`.
    name
        Name, for the record in the images' metadata.

    Examples
    --------
    >>> microscope = Microscope(dose=Dose(50.0), detector=Detector(taps=(0.6, 0.4)))
    >>> image = microscope.expose(np.full((32, 48), 0.5, np.float32), np.random.default_rng(0))
    >>> image.shape, str(image.dtype)
    ((32, 48), 'uint8')
    """

    beam: Beam | None = None
    charging: Charging | None = None
    brightness_drift: BrightnessDrift | None = None
    scan: Scan | None = None
    dose: Dose | None = field(default_factory=Dose)
    detector: Detector = field(default_factory=Detector)
    converter: Converter = field(default_factory=Converter)
    name: str = ""

    @classmethod
    def preset(cls, name: str) -> Self:
        """Return a microscope that was fitted to a real one; see ``PRESETS``.

        Raises
        ------
        UsageError
            For an unknown name, offering the nearest known one.
        """
        from everhart.simulate.presets import preset_parts

        return cls(**preset_parts(name))

    @property
    def gain(self) -> float:
        """Grey levels a detected electron; 0 without shot noise."""
        if self.dose is None:
            return 0.0
        return self.converter.contrast / self.dose.arrivals_per_px

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a JSON-serialisable dict."""
        return asdict(self)

    @overload
    def expose(
        self,
        scene: Scene | Micrograph | Array,
        rng: np.random.Generator,
        n_shots: int = ...,
        *,
        return_clean: Literal[False] = ...,
        quantise: bool = ...,
    ) -> Micrograph: ...

    @overload
    def expose(
        self,
        scene: Scene | Micrograph | Array,
        rng: np.random.Generator,
        n_shots: int = ...,
        *,
        return_clean: Literal[True],
        quantise: bool = ...,
    ) -> tuple[Micrograph, Micrograph]: ...

    def expose(
        self,
        scene: Scene | Micrograph | Array,
        rng: np.random.Generator,
        n_shots: int = 1,
        *,
        return_clean: bool = False,
        quantise: bool = True,
    ) -> Micrograph | tuple[Micrograph, Micrograph]:
        """Take an image: the mean of independent shots.

        Parameters
        ----------
        scene
            Scene, or brightness of shape ``(H, W)`` in 0 to 1; what is above 1, up to 2,
            saturates.
        rng
            Source of randomness.
        n_shots
            Number of shots that are averaged (frame or line integration); each is converted to
            grey levels, with its own clipping and rounding and its own drift, before the mean is
            taken. A mean of n is never one shot of rescaled variance.
        return_clean
            Return the noise-free expectation too.
        quantise
            Whether the mean is rounded to the dtype of a shot; else it is float32.

        Returns
        -------
        image : Micrograph
            The image.
        clean : Micrograph
            With `return_clean`: float32 grey levels that a converter without limits would give in
            the mean of infinitely many exposures with the same drift, jitter and brightness;
            probe, charging and detector filter are in it, noise is not.

        Raises
        ------
        UsageError
            If the scene is no image, or `n_shots` is not a whole number of at least 1.
        """
        brightness, pixel_size = brightness_of(scene)
        total = np.zeros(brightness.shape, np.float64 if n_shots > 1 else np.float32)
        expected = np.zeros_like(total)
        shot = np.zeros((0, 0), self.converter.dtype)
        for shot, clean, _ in self._shots(brightness, rng, n_shots):
            total += shot
            if return_clean:
                expected += clean
        if n_shots == 1:
            pixels: Array = shot if quantise else total.astype(np.float32)
        else:
            mean = (total / n_shots).astype(np.float32)
            pixels = self.converter.convert(mean) if quantise else mean
        image = self._micrograph(pixels, pixel_size, scene, n_shots)
        if not return_clean:
            return image
        ideal = (expected / n_shots).astype(np.float32)
        return image, self._micrograph(ideal, pixel_size, scene, 0)

    def expose_frames(
        self, scene: Scene | Micrograph | Array, rng: np.random.Generator, n_frames: int
    ) -> Micrograph:
        """Take a stack of single shots.

        Parameters
        ----------
        scene, rng
            See :meth:`expose`.
        n_frames
            Number of shots.

        Returns
        -------
        Micrograph
            Stack ``(n_frames, H, W)``; ``metadata["simulation"]["drift_px"]`` has the (y, x)
            displacement of the specimen in the middle of each frame.
        """
        brightness, pixel_size = brightness_of(scene)
        frames, drift = [], []
        for shot, _, position in self._shots(brightness, rng, n_frames):
            frames.append(shot)
            drift.append([float(p) for p in position[0]])
        return self._micrograph(np.stack(frames), pixel_size, scene, n_frames, drift)

    def _shots(
        self, brightness: Image, rng: np.random.Generator, n_shots: int
    ) -> Iterator[tuple[Array, Image, NDArray[np.float64]]]:
        """Yield (converted shot, expectation in grey levels, drift) of each shot."""
        if int(n_shots) != n_shots or n_shots < 1:
            raise UsageError(f"{n_shots!r} shots were asked for: give a whole number >= 1.")
        still = brightness if self.beam is None else self.beam.apply(brightness)
        if self.charging is not None:
            still = self.charging.apply(still)
        still = still * np.float32(self.converter.contrast)
        scan = self.scan or Scan()
        detector = self.detector
        for position in scan.drift(int(n_shots), rng):
            signal = still
            if self.brightness_drift is not None:
                signal = signal * self.brightness_drift.draw(brightness.shape[0], rng)
            signal = scan.displace(signal, position, rng)
            noisy = sample_noise(
                signal,
                rng,
                gain=self.gain,
                taps=detector.taps,
                readout_sigma=detector.readout_sigma,
                row_offset_sigma=detector.row_offset_sigma,
                compound=self.dose is None or self.dose.compound,
            )
            black = np.float32(self.converter.black)
            clean = apply_taps(signal, detector.taps) + black
            yield self.converter.convert(noisy + black), clean, position

    def _micrograph(
        self,
        pixels: Array,
        pixel_size: tuple[float, float] | None,
        scene: Scene | Micrograph | Array,
        n_shots: int,
        drift: list[list[float]] | None = None,
    ) -> Micrograph:
        record: dict[str, Any] = {"synthetic": True, "n_shots": n_shots}
        if isinstance(scene, Scene):
            record |= {"scene": scene.name, "scene_parameters": dict(scene.parameters)}
        if drift is not None:
            record["drift_px"] = drift
        settings = {"microscope": self.to_dict(), "n_shots": n_shots}
        return Micrograph(
            pixels,
            pixel_size,
            metadata={"simulation": record},
            history=(HistoryEntry("simulate", settings),),
        )


def brightness_of(
    scene: Scene | Micrograph | Array,
) -> tuple[Image, tuple[float, float] | None]:
    """Return brightness in 0 to 1 and pixel size of what was given."""
    if isinstance(scene, Scene):
        return scene.image, scene.pixel_size_nm
    pixels = field_of(scene)
    if pixels.ndim != 2:
        raise UsageError(
            f"An array of shape {pixels.shape} was given: expose one image of (height, width)."
        )
    brightness = pixels.astype(np.float32)
    if not np.isfinite(brightness).all() or brightness.min() < 0 or brightness.max() > 2:
        raise UsageError(
            f"Brightness from {brightness.min():g} to {brightness.max():g} was given: a scene is "
            "finite and from 0 to 1 (to 2 where it saturates); divide grey levels by full scale."
        )
    return brightness, scene.pixel_size_nm if isinstance(scene, Micrograph) else None
