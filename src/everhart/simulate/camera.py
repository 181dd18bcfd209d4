"""The camera of a transmission electron microscope (the forward model)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.micrograph import Array, HistoryEntry, Micrograph
from everhart.simulate.components import Converter
from everhart.simulate.microscope import brightness_of
from everhart.simulate.sampling import sample_arrivals
from everhart.simulate.scene import Image, Scene, check_range

__all__ = ["Camera"]


@dataclass(frozen=True)
class Camera:
    """An indirect camera: scintillator, fibre optics, sensor.

    Electrons arrive one by one, each gives an exponentially distributed amount of light, and
    the light spreads before it is read: the modulation transfer function blurs picture and shot
    noise alike, so the noise is correlated in both directions [1]_. Then the sensor's gain
    pattern, the readout and the conversion follow.

    Parameters
    ----------
    dose_e_per_px
        Mean number of electrons in a pixel of scene brightness 1.
    mtf_corner
        Spatial frequency, relative to Nyquist, at which the Lorentzian part of the MTF is 1/2.
    mtf_floor
        Share of the signal that is not spread (the MTF at high frequency), 0 to 1.
    compound
        Whether the light of an electron is exponentially distributed, else always the same.
    gain_sigma
        Relative standard deviation of the pixels' gain that is left after correction; the
        pattern is fixed, drawn from `gain_seed`.
    gain_seed
        Which camera it is.
    readout_sigma
        White noise, in grey levels.
    converter
        See :class:`everhart.simulate.Converter`.

    References
    ----------
    .. [1] M. Vulovic et al., "Image formation modeling in cryo-electron microscopy", J. Struct.
       Biol. 183 (2013), 19-32, section 2.5: detector response.

    Examples
    --------
    >>> camera = Camera(dose_e_per_px=20.0)
    >>> image = camera.expose(np.full((32, 48), 0.5, np.float32), np.random.default_rng(0))
    >>> image.shape, str(image.dtype)
    ((32, 48), 'uint16')
    """

    dose_e_per_px: float = 50.0
    mtf_corner: float = 0.35
    mtf_floor: float = 0.15
    compound: bool = True
    gain_sigma: float = 0.01
    gain_seed: int = 0
    readout_sigma: float = 20.0
    converter: Converter = field(default_factory=lambda: Converter(bits=16, black=100, white=20000))

    def __post_init__(self) -> None:
        check_range("dose_e_per_px", self.dose_e_per_px, 1e-3)
        check_range("mtf_corner", self.mtf_corner, 1e-3)
        check_range("mtf_floor", self.mtf_floor, 0, 1)
        check_range("gain_sigma", self.gain_sigma, 0, 0.5)
        check_range("readout_sigma", self.readout_sigma, 0)

    def mtf(self, frequency: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the modulation transfer at a spatial frequency in cycles a pixel."""
        relative = np.asarray(frequency, np.float64) / (0.5 * self.mtf_corner)
        return (1 - self.mtf_floor) / (1 + relative**2) + self.mtf_floor

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
            Scene, or brightness of shape ``(H, W)`` in 0 to 1.
        rng
            Source of randomness.
        n_shots
            Number of shots that are averaged, each converted before.
        return_clean
            Return the noise-free expectation (float32 grey levels, with the MTF) too.
        quantise
            Whether the mean is rounded to the dtype of a shot; else it is float32.

        Returns
        -------
        Micrograph, or tuple of Micrograph
            The image; with `return_clean` the expectation too.

        Raises
        ------
        UsageError
            If the scene is no image, or `n_shots` is not a whole number of at least 1.
        """
        if int(n_shots) != n_shots or n_shots < 1:
            raise UsageError(f"{n_shots!r} shots were asked for: give a whole number >= 1.")
        brightness, pixel_size = brightness_of(scene)
        contrast, black = self.converter.contrast, np.float32(self.converter.black)
        signal = brightness * np.float32(contrast)
        pattern = np.random.default_rng(self.gain_seed).standard_normal(signal.shape, np.float32)
        pattern = 1 + np.float32(self.gain_sigma) * pattern
        total = np.zeros(signal.shape, np.float64)
        pixels: Array = np.zeros(signal.shape, self.converter.dtype)
        for _ in range(int(n_shots)):
            light = sample_arrivals(
                signal, rng, gain=contrast / self.dose_e_per_px, compound=self.compound
            )
            read = self._spread(light) * pattern + black
            read += np.float32(self.readout_sigma) * rng.standard_normal(read.shape, np.float32)
            pixels = self.converter.convert(read)
            total += pixels.astype(np.float64)
        if n_shots > 1 or not quantise:
            mean = (total / n_shots).astype(np.float32)
            pixels = self.converter.convert(mean) if quantise else mean
        image = self._micrograph(pixels, pixel_size, scene, n_shots)
        if not return_clean:
            return image
        clean = self._spread(signal) + black
        return image, self._micrograph(clean, pixel_size, scene, 0)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as a JSON-serialisable dict."""
        return asdict(self)

    def _spread(self, image: Image) -> Image:
        """Apply the MTF; the image is continued by its mirror, so that borders do not wrap."""
        from scipy.fft import irfft2, next_fast_len, rfft2

        height, width = image.shape
        # The spread falls off within some periods of the corner frequency.
        reach = min(int(np.ceil(6 / self.mtf_corner)), height - 1, width - 1)
        shape = [int(next_fast_len(n + 2 * reach, real=True)) for n in (height, width)]
        pads = [(reach, total - n - reach) for n, total in zip((height, width), shape, strict=True)]
        padded = np.pad(image, pads, mode="symmetric")
        fy, fx = np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :]
        transfer = self.mtf(np.hypot(fy, fx)).astype(np.float32)
        spread = irfft2(rfft2(padded) * transfer, s=shape)
        return np.asarray(spread[reach : reach + height, reach : reach + width], np.float32)

    def _micrograph(
        self,
        pixels: Array,
        pixel_size: tuple[float, float] | None,
        scene: Scene | Micrograph | Array,
        n_shots: int,
    ) -> Micrograph:
        record: dict[str, Any] = {"synthetic": True, "n_shots": n_shots}
        if isinstance(scene, Scene):
            record |= {"scene": scene.name, "scene_parameters": dict(scene.parameters)}
        entry = HistoryEntry("simulate", {"camera": self.to_dict(), "n_shots": n_shots})
        return Micrograph(pixels, pixel_size, {"simulation": record}, (entry,))
