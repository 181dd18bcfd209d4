"""What the machine at hand can do: devices and number formats."""

from __future__ import annotations

import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from everhart.errors import UsageError

_CUDA_DRIVERS = (
    "/dev/nvidiactl",
    "/proc/driver/nvidia/version",
    "/dev/dxg",  # Linux under Windows
    "/dev/nvmap",  # Jetson
    "C:/Windows/System32/nvcuda.dll",
)
"""One of these is there where a driver for CUDA is."""


def resolve_device(device: str) -> Literal["cpu", "cuda"]:
    """Return the device to use.

    Parameters
    ----------
    device
        ``"auto"`` (CUDA where there is one), ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    UsageError
        If the device is not known, or CUDA is asked for and not there.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"The device {device!r} was given: auto, cpu and cuda are allowed.")
    there = device != "cpu" and cuda_available()
    if device == "cuda" and not there:
        raise UsageError(
            "The device cuda was given and PyTorch finds no CUDA device: use --device cpu, or "
            "install a CUDA build of PyTorch."
        )
    return "cuda" if there else "cpu"


def cuda_available() -> bool:
    """Return whether PyTorch can compute on a CUDA device.

    PyTorch is imported to say so only where it might: not where its build is for processors
    alone, and not where no driver shows itself.
    """
    if "torch" not in sys.modules:
        try:
            build = version("torch")
        except PackageNotFoundError:
            return False
        if build.endswith("+cpu") or not any(Path(path).exists() for path in _CUDA_DRIVERS):
            return False
    import torch

    return bool(torch.cuda.is_available())


def asked_threads() -> int:
    """Return how many threads PyTorch takes, or would take; 0 where it would take them all."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() else 0


def use_bf16(precision: str, device: str) -> bool:
    """Return whether to compute in bfloat16.

    Parameters
    ----------
    precision
        ``"auto"``: where the hardware multiplies bfloat16 itself (AVX512-BF16 or AMX on a
        processor); elsewhere it is emulated and slower than float32. ``"fp32"``, ``"bf16"``:
        as asked.
    device
        ``"cpu"`` or ``"cuda"``.

    Raises
    ------
    UsageError
        If the precision is not known.
    """
    if precision not in ("auto", "fp32", "bf16"):
        raise UsageError(f"The precision {precision!r} was given: auto, fp32 and bf16 are allowed.")
    if precision != "auto":
        return precision == "bf16"
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Private names of torch.cpu; absent on builds for other processors.
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, probe, bool)()) for probe in probes)
