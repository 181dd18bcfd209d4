"""The scenes by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any

import numpy as np

from everhart.errors import UsageError, unknown_name
from everhart.simulate.defects import DefectRequest
from everhart.simulate.lines import lines
from everhart.simulate.nand import nand
from everhart.simulate.particles import particles
from everhart.simulate.scene import Scene
from everhart.simulate.stack import stack

__all__ = ["SCENES", "simulate"]

#: Scenes by name; each is called as ``scene(rng, shape=..., pixel_size_nm=..., **parameters)``.
SCENES: Mapping[str, Callable[..., Scene]] = {
    "nand": nand,
    "lines": lines,
    "particles": particles,
    "stack": stack,
}


def simulate(
    scene_name: str,
    *,
    shape: tuple[int, int] | None = None,
    pixel_size_nm: float | tuple[float, float] | None = None,
    seed: int | None = None,
    rng: np.random.Generator | None = None,
    defects: DefectRequest = (),
    **parameters: Any,
) -> Scene:
    """Make a scene by its name.

    Parameters
    ----------
    scene_name
        ``nand``, ``lines``, ``particles`` or ``stack``.
    shape
        ``(H, W)`` in pixels; the scene's own default where None.
    pixel_size_nm
        Square pixels, in nm; the scene's own default where None.
    seed
        Seed of the randomness, for a scene that can be made again; a new one each time where
        neither this nor `rng` is given.
    rng
        Source of randomness instead of a seed.
    defects
        Kinds of defects to plant (``["bridge"]``), or how many of each (``{"bridge": 2}``).
    **parameters
        Parameters of the scene's function: see :func:`nand`, :func:`lines`,
        :func:`particles`, :func:`stack`.

    Returns
    -------
    Scene
        The scene with its truth.

    Raises
    ------
    UsageError
        For an unknown scene, parameter or defect, or a parameter outside of its range.

    Examples
    --------
    >>> scene = simulate("lines", shape=(64, 96), seed=1, cd_nm=12.0)
    >>> scene.image.shape, scene.pixel_size_nm
    ((64, 96), (0.8, 0.8))
    >>> scene.truth.edges_px.shape[1]
    64
    """
    if scene_name not in SCENES:
        raise unknown_name("scene", str(scene_name), SCENES)
    if rng is not None and seed is not None:
        raise UsageError("Both seed and rng were given: give one of them.")
    make = SCENES[scene_name]
    known = {
        name: parameter.default
        for name, parameter in inspect.signature(make).parameters.items()
        if name not in ("rng", "shape", "pixel_size_nm", "defects")
    }
    for name, value in parameters.items():
        if name not in known:
            raise unknown_name(f"parameter of the scene {scene_name!r}", name, known)
        numeric = isinstance(known[name], int | float) or (
            known[name] is None and value is not None
        )
        if numeric and (isinstance(value, bool) or not isinstance(value, Real)):
            raise UsageError(
                f"{name} = {value!r} was given for the scene {scene_name!r}: give a number."
            )
    if shape is not None:
        parameters["shape"] = shape
    return make(
        np.random.default_rng(seed) if rng is None else rng,
        pixel_size_nm=pixel_size_nm,
        defects=defects,
        **parameters,
    )
