"""Scenes with exact truth, and the microscope that images them (the forward model).

A scene says what the specimen is and where; :class:`Microscope` says what an instrument makes
of it. See ``docs/concepts/simulation.md`` for the ideas.
"""

from __future__ import annotations

from everhart._callable_room import make_callable
from everhart.simulate.camera import Camera
from everhart.simulate.components import (
    Beam,
    BrightnessDrift,
    Charging,
    Converter,
    Detector,
    Dose,
    Scan,
)
from everhart.simulate.fit import fit_noise
from everhart.simulate.lines import lines
from everhart.simulate.microscope import Microscope
from everhart.simulate.nand import nand
from everhart.simulate.noise_model import NoiseModel
from everhart.simulate.particles import particles
from everhart.simulate.presets import preset_names
from everhart.simulate.random_scenes import random_scene
from everhart.simulate.sampling import apply_taps, exponential_taps, sample_noise
from everhart.simulate.scene import Scene, Truth
from everhart.simulate.scenes import SCENES, simulate
from everhart.simulate.stack import stack

__all__ = [
    "SCENES",
    "Beam",
    "BrightnessDrift",
    "Camera",
    "Charging",
    "Converter",
    "Detector",
    "Dose",
    "Microscope",
    "NoiseModel",
    "Scan",
    "Scene",
    "Truth",
    "apply_taps",
    "exponential_taps",
    "fit_noise",
    "lines",
    "nand",
    "particles",
    "preset_names",
    "random_scene",
    "sample_noise",
    "simulate",
    "stack",
]

make_callable(__name__, "simulate")
