"""Run methods on images and judge what they give."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.micrograph import Micrograph, __version__
from everhart.report.comparison import (
    NOISY,
    Alignment,
    AlignmentModel,
    Comparison,
    ImageComparison,
    MethodResult,
    Source,
)
from everhart.report.cost import Cost, measure
from everhart.report.figures import (
    against_reference,
    against_second_frame,
    default_data_range,
    of_residual,
    shift_keeping_noise,
)
from everhart.report.methods import check_methods, label

__all__ = ["compare", "compare_image", "provenance"]

Float32 = NDArray[np.float32]
Given = Micrograph | NDArray[Any] | str | os.PathLike[str]

_WARM_UP_PX = 64
_MAX_SHIFT_PX = 40.0


def compare(
    images: Given | Sequence[Given],
    methods: Sequence[str],
    *,
    reference: Given | Sequence[Given] | None = None,
    second_frame: Given | Sequence[Given] | None = None,
    alignment: AlignmentModel = "affine",
    data_range: float | None = None,
    device: str = "auto",
) -> Comparison:
    """Run methods on images and judge what they give.

    With a reference, it is laid on the image to a fraction of a pixel, and what they do not
    share is cut off. With a second frame (given, or the second of a stack), the error is
    estimated from it. Without either, only the removed part can be judged.

    Parameters
    ----------
    images
        Image or list of images: micrographs, arrays or files. Of a stack, the first frame is
        restored and the second judges it, unless a reference is given.
    methods
        Names of classical methods and models, or ``.safetensors`` files.
    reference
        Clean image of the field, for all images, or a list of one for each. Of a stack, the
        mean over its frames.
    second_frame
        Second noisy image of the field, likewise.
    alignment
        How these are laid on the image: ``"affine"`` allows for drift during a slow scan.
    data_range
        Grey levels from black to white for PSNR and SSIM; None for 255 in 8-bit images and
        the reference's own range in others.
    device
        Where learned models run: ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Returns
    -------
    Comparison
        Pictures, figures and costs.

    Raises
    ------
    UsageError
        If a method is unknown, a file is missing, or shapes do not fit.
    """
    check_methods(methods)
    several: list[Given] = list(images) if isinstance(images, (list, tuple)) else [images]  # type: ignore[list-item]
    if not several:
        raise UsageError("No image was given: give at least one.")
    references = _for_each(reference, len(several), "reference")
    seconds = _for_each(second_frame, len(several), "second_frame")
    compared = tuple(
        compare_image(
            image,
            methods,
            reference=references[index],
            second_frame=seconds[index],
            alignment=alignment,
            data_range=data_range,
            device=device,
            default_name="image" if len(several) == 1 else f"image {index + 1}",
        )
        for index, image in enumerate(several)
    )
    return Comparison(compared, provenance())


def compare_image(
    image: Given,
    methods: Sequence[str],
    *,
    reference: Given | None = None,
    second_frame: Given | None = None,
    alignment: AlignmentModel = "affine",
    data_range: float | None = None,
    device: str = "auto",
    pixel_size_nm: float | None = None,
    default_name: str = "image",
    on_method: Callable[[str, int], None] | None = None,
) -> ImageComparison:
    """Run methods on one image and judge what they give.

    Parameters
    ----------
    image, methods, reference, second_frame, alignment, data_range, device
        As for :func:`compare`.
    pixel_size_nm
        Pixel size in place of what a file says.
    default_name
        Name of an image that is no file.
    on_method
        Called with a method's name and the number of methods done, before each.

    Returns
    -------
    ImageComparison
        Pictures, figures and costs.

    Raises
    ------
    UsageError
        If a file is missing or shapes do not fit.
    """
    given, source = _load(image, default_name, pixel_size_nm)
    noisy = _frame(given, 0)
    clean, clean_source = (None, None) if reference is None else _load(reference, "reference", None)
    second, second_source = (
        (None, None) if second_frame is None else _load(second_frame, "second frame", None)
    )
    if second is None and clean is None and given.n_frames > 1:
        second, second_source = _frame(given, 1), replace(source, name=f"{source.name}, frame 2")
    pixels = np.asarray(noisy.field_of_view, np.float32)
    rows, columns = slice(None), slice(None)
    fitted: dict[str, Alignment] = {}
    laid: Float32 | None = None
    if clean is not None:
        average = np.asarray(clean.field_of_view, np.float32)
        average = average.mean(axis=0) if average.ndim == 3 else average
        _check_shape(average, pixels, "reference")
        laid, (rows, columns), fitted["reference"] = _lay_on(average, pixels, alignment)
    judge: Callable[[Float32, float], dict[str, float]] | None = None
    if second is not None:
        frame = np.asarray(_frame(second, 0).field_of_view, np.float32)
        _check_shape(frame, pixels, "second frame")
        judge, fitted["second frame"] = _second_frame_judge(pixels, frame, alignment)
    level_range = data_range or default_data_range(noisy.field_of_view, laid)
    correlation = None if clean is not None else _noise_correlation(noisy)

    def figures_of(picture: Float32) -> dict[str, float]:
        found: dict[str, float] = {}
        if laid is not None:
            found |= against_reference(picture[rows, columns], laid, data_range=level_range)
        if judge is not None:
            found |= judge(picture, level_range)
        if laid is None:
            found |= of_residual(picture, pixels, correlation)
        return found

    results = []
    for index, method in enumerate(methods):
        if on_method is not None:
            on_method(label(method), index)
        picture, cost = _run(noisy, method, device)
        results.append(
            MethodResult(label(method), picture[rows, columns], figures_of(picture), cost)
        )
    return ImageComparison(
        source=source,
        noisy=MethodResult(NOISY, pixels[rows, columns], figures_of(pixels)),
        methods=tuple(results),
        data_range=level_range,
        shape=given.shape,
        dtype=str(given.dtype),
        pixel_size_nm=given.pixel_size_nm,
        reference=laid,
        reference_source=clean_source,
        second_frame_source=second_source,
        ms_ssim_scales=_scales(laid),
        alignment=fitted,
    )


def provenance(command: str | None = None) -> dict[str, str]:
    """Return what a reader needs to make a report again.

    Parameters
    ----------
    command
        The command line, if there was one.

    Returns
    -------
    dict
        Version, UTC date, command, and the machine.
    """
    about = {
        "everhart": __version__,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": command or "",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, "
        f"Python {platform.python_version()}, NumPy {np.__version__}",
    }
    return {key: value for key, value in about.items() if value}


def _for_each(given: Any, count: int, what: str) -> list[Any]:
    if not isinstance(given, (list, tuple)):
        return [given] * count
    if len(given) != count:
        raise UsageError(
            f"{len(given)} were given as {what} for {count} images: give one for all, or one for "
            "each."
        )
    return list(given)


def _load(
    given: Given, default_name: str, pixel_size_nm: float | None
) -> tuple[Micrograph, Source]:
    if isinstance(given, (str, os.PathLike)):
        from everhart.io import read

        path = Path(given)
        image = read(path, pixel_size_nm=pixel_size_nm)
        with path.open("rb") as file:
            return image, Source(path.name, hashlib.file_digest(file, "sha256").hexdigest())
    image = given if isinstance(given, Micrograph) else Micrograph(np.asarray(given))
    digest = hashlib.sha256(np.ascontiguousarray(image.pixels).tobytes()).hexdigest()
    return image, Source(default_name, digest)


def _frame(image: Micrograph, index: int) -> Micrograph:
    return image if image.ndim == 2 else replace(image, pixels=image.pixels[index])


def _check_shape(other: Float32, image: Float32, what: str) -> None:
    if other.shape != image.shape:
        raise UsageError(
            f"The {what} is {other.shape[0]} x {other.shape[1]} pixels and the image "
            f"{image.shape[0]} x {image.shape[1]} (without data bars): they must be of one size; "
            "crop or resample one of them first."
        )


def _lay_on(
    moving: Float32, fixed: Float32, model: AlignmentModel
) -> tuple[Float32, tuple[slice, slice], Alignment]:
    """Lay a reference on the image; return it with the slices that the image keeps."""
    if model == "none":
        return moving, (slice(None), slice(None)), Alignment("none")
    from everhart.align import register_pair

    kept, moved, matrix = register_pair(fixed, moving, model=model, max_shift_px=_MAX_SHIFT_PX)
    cut = [(n - m) // 2 for n, m in zip(fixed.shape, kept.shape, strict=True)]
    keep = (slice(cut[0], cut[0] + kept.shape[0]), slice(cut[1], cut[1] + kept.shape[1]))
    centre = np.array([(n - 1) / 2 for n in fixed.shape])
    shift = centre - matrix @ [*centre, 1.0]
    stretch = 100 * float(np.abs(matrix[:, :2] - np.eye(2)).max())
    how = Alignment(model, (float(shift[0]), float(shift[1])), stretch, (cut[0], cut[1]))
    return moved, keep, how


def _second_frame_judge(
    first: Float32, second: Float32, model: AlignmentModel
) -> tuple[Callable[[Float32, float], dict[str, float]], Alignment]:
    """Return the function that estimates a picture's error from the second frame.

    The first frame and what was made of it are moved, and in a way that keeps the noise: the
    estimate takes the variance of the noise from the difference of the frames.
    """
    shift = (0.0, 0.0)
    if model != "none":
        from everhart.align import common_margin, estimate_shift

        shift = estimate_shift(first, second, max_shift_px=_MAX_SHIFT_PX)
        rows, columns = common_margin(shift, extra_px=8)
    if max(map(abs, shift)) < 0.02:
        rows, columns, shift = slice(None), slice(None), (0.0, 0.0)
    moved = shift_keeping_noise(first, shift)[rows, columns]
    target = second[rows, columns]

    def judge(picture: Float32, data_range: float) -> dict[str, float]:
        on_it = shift_keeping_noise(picture, shift)[rows, columns]
        return against_second_frame(on_it, moved, target, data_range=data_range)

    cut = tuple((n - m) // 2 for n, m in zip(first.shape, target.shape, strict=True))
    used: AlignmentModel = "none" if model == "none" else "shift"
    return judge, Alignment(used, (-shift[0], -shift[1]), 0.0, (cut[0], cut[1]))


def _noise_correlation(image: Micrograph) -> NDArray[np.floating] | None:
    from everhart.noise import estimate_noise

    return np.asarray(estimate_noise(image).correlation)


def _run(image: Micrograph, method: str, device: str) -> tuple[Float32, Cost]:
    """Run a method, warm, and measure it."""
    from everhart.restore import make_denoiser

    denoiser = make_denoiser(method, device=device)
    denoiser(np.ascontiguousarray(image.field_of_view[:_WARM_UP_PX, :_WARM_UP_PX]))
    restored, cost = measure(lambda: denoiser(image))
    return np.asarray(restored.field_of_view, np.float32), cost


def _scales(reference: Float32 | None) -> int:
    if reference is None or min(reference.shape) < 11:
        return 0
    from everhart.metrics import ms_ssim_scales

    return ms_ssim_scales(reference.shape)
