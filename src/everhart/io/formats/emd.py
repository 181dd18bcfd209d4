"""EMD: HDF5 files of two kinds, Velox's and those of Berkeley (NCEM), which is written."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError
from everhart.io.bitmap import broken
from everhart.io.calibration import with_sources
from everhart.io.findings import Findings
from everhart.io.hdf5 import is_hdf5, open_hdf5
from everhart.io.lazy import FrameReader
from everhart.io.limits import Limits
from everhart.io.ncem_emd import NcemImage, ncem_image, write_ncem
from everhart.io.registry import Format
from everhart.io.velox import VeloxImage, is_velox, velox_image
from everhart.micrograph import Micrograph

if TYPE_CHECKING:
    import h5py

__all__ = ["FORMAT"]


def _read(path: Path, limits: Limits) -> Micrograph:
    with open_hdf5(path) as file:
        try:
            image = _image(path, file)
            image.pixels.check(limits)
            pixels = image.pixels.read()
            found = image.findings(path, pixels.shape)
        except (EverhartError, MemoryError):
            raise
        except Exception as error:  # the library's, which are of many kinds
            raise broken(path, error) from error
    return _micrograph(pixels, found)


def _frames(path: Path, limits: Limits) -> FrameReader:
    file = open_hdf5(path)
    try:
        image = _image(path, file)
        image.pixels.check(limits, whole=False)
        found = image.findings(path, image.pixels.shape)
        image.pixels.warn_of_gaps()
        mapped = image.pixels.mapped()
    except (EverhartError, MemoryError):
        file.close()
        raise
    except Exception as error:
        file.close()
        raise broken(path, error) from error
    except BaseException:
        file.close()
        raise
    shape, dtype = image.pixels.shape, image.pixels.dtype
    described = _micrograph(np.broadcast_to(np.zeros((), dtype), shape), found)
    lock = threading.Lock()  # a frame at a time, whoever asks

    def frame(number: int) -> NDArray[Any]:
        number = range(shape[0])[number]
        if mapped is not None:
            return np.array(mapped[number], order="C")
        try:
            with lock:
                (pixels,) = image.pixels.frames(number, number + 1)
                return np.asarray(pixels)
        except EverhartError:
            raise
        except Exception as error:
            raise broken(path, error) from error

    return FrameReader(
        shape=shape,
        dtype=dtype,
        frame=frame,
        close=file.close,
        pixel_size_nm=described.pixel_size_nm,
        metadata=described.metadata,
        data_bar_rows=described.data_bar_rows,
        history=described.history,
    )


def _image(path: Path, file: h5py.File) -> VeloxImage | NcemImage:
    return velox_image(path, file) if is_velox(file) else ncem_image(path, file)


def _micrograph(pixels: NDArray[Any], found: Findings) -> Micrograph:
    # One frame is an image, unless the record of a stack of one says otherwise.
    if len(pixels) == 1 and (found.record is None or found.record.shape != pixels.shape):
        pixels = pixels[0]
    return with_sources(
        pixels,
        calibration=found.calibration,
        metadata=found.metadata,
        record=found.record,
    )


FORMAT = Format("EMD", (".emd",), is_hdf5, _read, write_ncem, frames=_frames)
