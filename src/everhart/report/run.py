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
from everhart.metrics import LeftOutError
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
from everhart.report.defects import planted_beside
from everhart.report.figures import (
    against_reference,
    default_data_range,
    from_frames,
    of_residual,
)
from everhart.report.frames import MAX_FRAMES, FrameJudge, frame_averages, spread
from everhart.report.methods import check_methods, label
from everhart.report.metrology import MeasuredKind, Metrology, check_measured

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
    one_field: bool = False,
    turns: int = 3,
    measure: MeasuredKind | None = None,
) -> Comparison:
    """Run methods on images and judge what they give.

    With a reference, it is laid on the image to a fraction of a pixel, and what they do not
    share is cut off. With several frames of the field (a stack, `one_field`, or a second frame),
    some are restored in turn and the error of each is estimated from all others; methods
    are ranked by it. Without either, only the removed part can be judged.

    Parameters
    ----------
    images
        Image or list of images: micrographs, arrays or files. A stack is frames of one field.
    methods
        Names of classical methods and models, or ``.safetensors`` files.
    reference
        Clean image of the field, for all images, or a list of one for each. Of a stack, the
        mean over its frames.
    second_frame
        Second noisy image (or a stack of more) of the field, likewise.
    alignment
        How these are laid on the image: ``"affine"`` allows for drift during a slow scan.
    data_range
        Grey levels from black to white for PSNR and SSIM; None for 255 in 8-bit images and
        the reference's own range in others.
    device
        Where learned models run: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    one_field
        Whether all images are frames of one field: one comparison comes out.
    turns
        How many of the frames of a field every method restores. More cost more time and make the
        estimate firmer.
    measure
        ``"holes"`` or ``"lines"``: measure them in every picture, in the reference and in means of
        the frames of the field, and say by how much sizes differ from the reference's.

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
    check_measured(measure)
    several: list[Given] = list(images) if isinstance(images, (list, tuple)) else [images]  # type: ignore[list-item]
    if not several:
        raise UsageError("No image was given: give at least one.")
    more: Sequence[Given] = ()
    if one_field:
        several, more = several[:1], several[1:]
    references = _for_each(reference, len(several), "reference")
    seconds = _for_each(second_frame, len(several), "second_frame")
    compared = tuple(
        compare_image(
            image,
            methods,
            reference=references[index],
            second_frame=seconds[index],
            more_frames=more,
            alignment=alignment,
            data_range=data_range,
            device=device,
            turns=turns,
            measure=measure,
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
    more_frames: Sequence[Given] = (),
    alignment: AlignmentModel = "affine",
    data_range: float | None = None,
    device: str = "auto",
    turns: int = 3,
    measure: MeasuredKind | None = None,
    pixel_size_nm: float | None = None,
    default_name: str = "image",
    on_method: Callable[[str, int], None] | None = None,
    on_result: Callable[[ImageComparison, MethodResult, Micrograph | None], None] | None = None,
) -> ImageComparison:
    """Run methods on one image and judge what they give.

    Parameters
    ----------
    image, methods, reference, second_frame, alignment, data_range, device, turns, measure
        As for :func:`compare`.
    more_frames
        Further frames of the field, or stacks of them.
    pixel_size_nm
        Pixel size in place of what a file says.
    default_name
        Name of an image that is no file.
    on_method
        Called with a method's name and the number of methods done, before each.
    on_result
        Called with the image (without any method yet), a result and the whole restored image, for
        the image as it was given (and None) and after each method: work that is stopped
        later has lost nothing.

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
    if measure is not None and clean is None:
        raise UsageError(
            f"{measure.capitalize()} were to be measured without a reference, which tells the "
            "error of a size: give a clean image of the field (--reference FILE)."
        )
    series = [noisy]
    sources: list[Source] = []
    if given.n_frames > 1 and (clean is None or more_frames) and second_frame is None:
        series += [_frame(given, number) for number in range(1, given.n_frames)]
        which = "frame 2" if given.n_frames == 2 else f"frames 2 to {given.n_frames}"
        sources.append(replace(source, name=f"{source.name}, {which}"))
    for other in (*(() if second_frame is None else (second_frame,)), *more_frames):
        image_of, source_of = _load(other, f"frame {len(series) + 1}", pixel_size_nm)
        series += [_frame(image_of, number) for number in range(image_of.n_frames)]
        sources.append(source_of)
    pixels = np.asarray(noisy.field_of_view, np.float32)
    rows, columns = slice(None), slice(None)
    fitted: dict[str, Alignment] = {}
    laid: Float32 | None = None
    if clean is not None:
        average = np.asarray(clean.field_of_view, np.float32)
        average = average.mean(axis=0) if average.ndim == 3 else average
        _check_shape(average, pixels, "reference")
        laid, (rows, columns), fitted["reference"] = _lay_on(average, pixels, alignment)
    repeats = series
    if measure is not None and len(series) == 1 and second_frame is None:
        repeats = [_frame(given, number) for number in range(given.n_frames)]
    judge: FrameJudge | None = None
    if len(series) > 1:
        series = [series[number] for number in spread(len(series), MAX_FRAMES)]
        judge = _frame_judge(series, alignment, turns)
        fitted |= _frame_alignments(judge, alignment)
    restored = judge.restored if judge is not None else (0,)
    level_range = data_range or default_data_range(noisy.field_of_view, laid)
    correlation = None if clean is not None else _noise_correlation(noisy)

    errors: dict[str, LeftOutError] = {}
    planted = planted_beside(image, pixels)
    sizes: Metrology | None = None
    if measure is not None and laid is not None:
        sizes = Metrology.of_reference(measure, laid, given.pixel_size_nm)

    def figures_of(name: str, pictures: list[Float32], *, judged: bool = True) -> dict[str, float]:
        found: dict[str, float] = {}
        if laid is not None:
            found |= against_reference(pictures[0][rows, columns], laid, data_range=level_range)
        if sizes is not None:
            found |= sizes.figures(pictures[0][rows, columns])
        if judge is not None and judged:
            errors[name] = judge.error(pictures)
            found |= from_frames(errors[name], data_range=level_range)
        if laid is None:
            found |= of_residual(pictures[0], pixels, correlation)
        if planted is not None:
            found |= planted.figures(pictures[0])
        return found

    untouched = [np.asarray(series[number].field_of_view, np.float32) for number in restored]
    results = [MethodResult(NOISY, pixels[rows, columns], figures_of(NOISY, untouched))]
    del untouched
    averages = []
    if sizes is not None and len(repeats) > 1:
        for name, mean in frame_averages(repeats, register=alignment != "none"):
            figures = figures_of(name, [mean], judged=False)
            averages.append(MethodResult(name, mean[rows, columns], figures))
    begun = ImageComparison(
        source=source,
        noisy=results[0],
        methods=(),
        data_range=level_range,
        shape=given.shape,
        dtype=str(given.dtype),
        pixel_size_nm=given.pixel_size_nm,
        reference=laid,
        reference_source=clean_source,
        frame_sources=tuple(sources),
        ms_ssim_scales=_scales(laid),
        alignment=fitted,
        averages=tuple(averages),
    )
    if on_result is not None:
        for result in (*averages, results[0]):
            on_result(begun, result, None)
    for index, method in enumerate(methods):
        if on_method is not None:
            on_method(label(method), index)
        images, cost = _run([series[number] for number in restored], method, device)
        pictures = [np.asarray(one.field_of_view, np.float32) for one in images]
        figures = figures_of(label(method), pictures)
        results.append(MethodResult(label(method), pictures[0][rows, columns], figures, cost))
        if on_result is not None:
            on_result(begun, results[-1], images[0])
    judgement = None if judge is None else judge.judgement(errors)
    if judgement is not None:
        places = {ranked.name: float(ranked.place) for ranked in judgement.ranking}
        results = [
            replace(r, figures={**r.figures, "frames_place": places[r.name]}) for r in results
        ]
    return replace(begun, noisy=results[0], methods=tuple(results[1:]), frames=judgement)


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


def _check_shape(other: NDArray[Any], image: NDArray[Any], what: str) -> None:
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


def _frame_judge(series: Sequence[Micrograph], model: AlignmentModel, turns: int) -> FrameJudge:
    """Return the judge of frames of one field, after checking that they are."""

    def frame(number: int) -> Float32:
        return np.asarray(series[number].field_of_view, np.float32)

    if turns < 1:
        raise UsageError(f"turns = {turns} was given: give at least 1 frame to restore.")
    for number in range(1, len(series)):
        what = "second frame" if len(series) == 2 else f"frame {number + 1}"
        _check_shape(series[number].field_of_view, series[0].field_of_view, what)
    return FrameJudge(frame, len(series), spread(len(series), turns), register=model != "none")


def _frame_alignments(judge: FrameJudge, model: AlignmentModel) -> dict[str, Alignment]:
    used: AlignmentModel = "none" if model == "none" else "shift"
    cut = (judge.cut_px[0] // 2, judge.cut_px[1] // 2)
    return {
        "second frame" if judge.n_frames == 2 else f"frame {number + 1}": Alignment(
            used, (float(judge.shifts[number, 0]), float(judge.shifts[number, 1])), 0.0, cut
        )
        for number in range(1, judge.n_frames)
    }


def _noise_correlation(image: Micrograph) -> NDArray[np.floating] | None:
    from everhart.noise import estimate_noise

    return np.asarray(estimate_noise(image).correlation)


def _run(images: Sequence[Micrograph], method: str, device: str) -> tuple[list[Micrograph], Cost]:
    """Run a method, warm, on every image, and measure it on the first."""
    from everhart.restore import make_denoiser

    denoiser = make_denoiser(method, device=device)
    denoiser(np.ascontiguousarray(images[0].field_of_view[:_WARM_UP_PX, :_WARM_UP_PX]))
    restored, cost = measure(lambda: denoiser(images[0]))
    return [restored, *(denoiser(image) for image in images[1:])], cost


def _scales(reference: Float32 | None) -> int:
    if reference is None or min(reference.shape) < 11:
        return 0
    from everhart.metrics import ms_ssim_scales

    return ms_ssim_scales(reference.shape)
