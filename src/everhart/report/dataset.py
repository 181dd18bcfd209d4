"""Compare methods on the images of a data set, one image at a time."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from everhart.errors import EverhartError, UsageError
from everhart.micrograph import Micrograph, __version__
from everhart.report.cells import Cell, CellStore, key_of
from everhart.report.comparison import NOISY, AlignmentModel, ImageComparison, MethodResult
from everhart.report.dataset_checks import check_choices, check_kept, kept_image
from everhart.report.dataset_result import (
    DatasetComparison,
    DatasetImage,
    Failure,
    judged_figure,
)
from everhart.report.dataset_shown import CROP_PX, choose_shown
from everhart.report.dataset_table import default_tie_margin
from everhart.report.figures import FIGURES
from everhart.report.methods import label
from everhart.report.metrology import MeasuredKind, check_measured
from everhart.report.pairing import Item, Words, find_items
from everhart.report.pictures import contrast_window, detail_region, structured_point, to_grey
from everhart.report.run import compare_image, provenance

__all__ = ["compare_dataset", "method_record"]

_NOT_OF_ONE_METHOD: Final = "frames_place"  # depends on which methods ran together


def compare_dataset(
    images: Words | Iterable[Words] | Sequence[Item],
    methods: Sequence[str],
    *,
    reference: Words | Iterable[Words] | None = None,
    fields: bool = False,
    alignment: AlignmentModel = "affine",
    data_range: float | None = None,
    device: str = "auto",
    turns: int = 3,
    measure: MeasuredKind | None = None,
    pixel_size_nm: float | None = None,
    judge_by: str | None = None,
    tie_margin: float | None = None,
    worst_of: str | None = None,
    cells: Words | None = None,
    resume: bool = False,
    overwrite: bool = False,
    keep_images: Words | None = None,
    on_step: Callable[[int, int, str], None] | None = None,
    on_failure: Callable[[Failure], None] | None = None,
) -> DatasetComparison:
    """Compare methods on a data set: pairs, or fields of several frames, or single images.

    One image is in memory at a time. An image or method that fails is listed in the result and the
    others go on.

    Parameters
    ----------
    images
        Folders (with sub-folders), patterns and files; or the items themselves.
    methods
        Names of classical methods and models, or ``.safetensors`` files.
    reference
        Folder, pattern or files of clean images, matched with the images by their names
        (:func:`everhart.report.pairing.pair_files`).
    fields
        Whether files whose names differ in a running number alone are frames of one field.
    alignment, data_range, device, turns, measure, pixel_size_nm
        As for :func:`everhart.report.compare_image`.
    judge_by
        Key of the figure that decides wins and worst cases; None for the affine-matched PSNR, the
        PSNR that frames tell, or the whiteness, whichever there is first.
    tie_margin
        Difference of it up to which two methods are tied in an image; None for
        :func:`.dataset_table.default_tie_margin`.
    worst_of
        Method whose worst images come first; None for the best on average.
    cells
        Folder in which the figures of each image and method are kept as soon as they are known;
        None to keep them only while this runs.
    resume
        Whether to take from it what is there already, if nothing that it depends on has changed.
    overwrite
        Whether it may be emptied first, and images in `keep_images` replaced.
    keep_images
        Folder to write restored images to, as ``METHOD/NAME.tif``.
    on_step
        Called with the number of steps done and of all, and what is being done.
    on_failure
        Called with each failure as it happens.

    Returns
    -------
    DatasetComparison
        Figures of all images, statistics over them, and crops of some.

    Raises
    ------
    UsageError
        If a method is unknown, an image has no reference, or `cells` exists unasked.
    EverhartError
        If no image could be compared.
    """
    labels = check_choices(methods, judge_by=judge_by, tie_margin=tie_margin, worst_of=worst_of)
    check_measured(measure)
    items = _items_of(images, reference, fields)
    if not items:
        raise UsageError("No image was given: give at least one.")
    kept = None if keep_images is None else Path(keep_images)
    if kept is not None:
        check_kept(items, labels, kept, unasked=not (resume or overwrite))
    settings: dict[str, Any] = {
        "alignment": alignment,
        "data_range": data_range,
        "device": device,
        "turns": turns,
        "measure": measure,
        "pixel_size_nm": pixel_size_nm,
    }
    with ExitStack() as stack:
        if cells is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="everhart-")))
        else:
            folder = Path(cells)
        store = CellStore.open(folder, resume=resume or cells is None, overwrite=overwrite)
        run = _Run(store, tuple(methods), settings, kept, on_failure)
        steps = len(items) * len(methods)
        for index, item in enumerate(items):

            def tell(method: str, done: int, base: int = index, name: str = item.name) -> None:
                if on_step is not None:
                    on_step(base * len(methods) + done, steps, f"{name} {method}")

            run.add(item, tell)
        if not run.images:
            first = f": {run.failures[0].message}" if run.failures else "."
            raise EverhartError(f"None of the {len(items)} images could be compared{first}")
        found = tuple(run.images)
        judged = judged_figure(found, judge_by)
        margin = default_tie_margin(judged) if tie_margin is None else tie_margin
        compared = DatasetComparison(
            images=found,
            methods=labels,
            averages=tuple(run.averages),
            failures=tuple(run.failures),
            judged_by=judged,
            tie_margin=margin,
            worst_of=worst_of,
            settings={**settings, "methods": [method_record(method) for method in methods]},
            provenance=provenance(),
        )
        return choose_shown(compared, lambda name, method, role: run.crop(name, method, role))


def method_record(method: str) -> dict[str, str]:
    """Return what tells a method from another of the same name: the hash of a model's file.

    Examples
    --------
    >>> method_record("median")
    {'method': 'median'}
    """
    from everhart.restore.models import find_model
    from everhart.restore.names import CLASSICAL

    if method in CLASSICAL:
        return {"method": method}
    return {"method": label(method), "model_sha256": _sha256(find_model(method))}


@dataclass
class _Run:
    """The state of a comparison: what was found, and what goes on with it."""

    store: CellStore
    methods: tuple[str, ...]
    settings: dict[str, Any]
    keep_images: Path | None
    on_failure: Callable[[Failure], None] | None
    images: list[DatasetImage] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    keys: dict[tuple[str, str], str] = field(default_factory=dict)
    averages: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.records = {NOISY: {"method": NOISY}}
        self.records |= {label(method): method_record(method) for method in self.methods}

    def add(self, item: Item, on_method: Callable[[str, int], None]) -> None:
        """Find what is not known yet of an image, and take it up."""
        try:
            hashes = _hashes(item)
        except OSError as error:
            self._failed(item, None, error)
            return
        basis = {
            "everhart": __version__,
            "figures": sorted(FIGURES),
            "files": hashes,
            "crop_px": CROP_PX,
            **self.settings,
        }

        def key(record: dict[str, str]) -> str:
            return key_of(record=record, **basis)

        for name, record in self.records.items():
            self.keys[item.name, name] = key(record)
        cells = {name: self._load(item, name) for name in self.records}
        missing = [m for m in self.methods if cells[label(m)] is None or not self._is_kept(item, m)]
        if missing or cells[NOISY] is None:
            self._find(item, missing, on_method, key)
            cells = {name: self._load(item, name) for name in self.records}
        # How many frames a file holds is known only when it has been read.
        first = cells[NOISY]
        for name in first.facts["averages"] if first is not None else ():
            self.keys[item.name, name] = key({"frames": name})
            cells[name] = self._load(item, name)
            if name not in self.averages:
                self.averages.append(name)
                self.averages.sort(key=lambda mean: int(mean[1:]))
        failed = {f.method for f in self.failures if f.image == item.name}
        known = {name: cell for name, cell in cells.items() if cell and name not in failed}
        if NOISY not in known or len(known) < 2 or None in failed:
            return
        self.images.append(
            DatasetImage(
                name=item.name,
                sources=hashes,
                reference=None if item.reference is None else item.reference.name,
                facts=known[NOISY].facts,
                figures={name: cell.figures for name, cell in known.items()},
            )
        )

    def crop(self, image: str, method: str, role: str) -> NDArray[np.uint8] | None:
        """Return a crop that was kept, or None."""
        return self.store.picture(self.keys[image, method], f"{image}.{method}", role)

    def _load(self, item: Item, method: str) -> Cell | None:
        return self.store.load(self.keys[item.name, method], f"{item.name}.{method}")

    def _is_kept(self, item: Item, method: str) -> bool:
        if self.keep_images is None:
            return True
        return kept_image(self.keep_images, label(method), item.name).is_file()

    def _find(
        self,
        item: Item,
        methods: Sequence[str],
        on_method: Callable[[str, int], None],
        key: Callable[[dict[str, str]], str],
    ) -> None:
        """Run methods on an image, going on after one that fails."""
        left = list(methods)
        while True:
            running: list[str] = []

            def keep(
                image: ImageComparison, result: MethodResult, whole: Micrograph | None
            ) -> None:
                if result in image.averages:
                    self.keys[item.name, result.name] = key({"frames": result.name})
                self._keep(item, image, result, whole)

            def begin(method: str, done: int, running: list[str] = running) -> None:
                running.append(method)
                on_method(method, done)

            try:
                compare_image(
                    item.image,
                    left,
                    reference=item.reference,
                    more_frames=item.frames,
                    on_method=begin,
                    on_result=keep,
                    **self.settings,
                )
            except Exception as error:  # one image of a thousand must not end the run
                self._failed(item, running[-1] if running else None, error)
                if not running:
                    return
                left = left[len(running) :]  # what came before is kept
                if left:
                    continue
            return

    def _keep(
        self, item: Item, image: ImageComparison, result: MethodResult, whole: Micrograph | None
    ) -> None:
        figures = {k: float(v) for k, v in result.values.items() if k != _NOT_OF_ONE_METHOD}
        key, name = self.keys[item.name, result.name], f"{item.name}.{result.name}"
        window = contrast_window(image.noisy.picture, image.reference, np.dtype(image.dtype))
        region = _crop_region(image)
        pictures = {"picture": to_grey(region.of(result.picture), window)}
        if result.name == NOISY and image.reference is not None:
            pictures["reference"] = to_grey(region.of(image.reference), window)
        if whole is not None and self.keep_images is not None:
            from everhart.io import write

            path = kept_image(self.keep_images, result.name, item.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            write(whole, path, overwrite=True)  # what is not ours was refused before the start
        facts: dict[str, Any] = {}
        if result.name == NOISY:
            facts = {
                "shape": list(image.shape),
                "dtype": image.dtype,
                "pixel_size_nm": image.pixel_size_nm and list(image.pixel_size_nm),
                "data_range": float(image.data_range),
                "ms_ssim_scales": image.ms_ssim_scales or None,
                "alignment": {role: vars(how) for role, how in image.alignment.items()},
                "crop_yx_px": [region.y, region.x],
                "averages": [mean.name for mean in image.averages],
            }
        self.store.save(key, name, Cell(result.name, figures, facts), pictures)

    def _failed(self, item: Item, method: str | None, error: Exception) -> None:
        text = " ".join(str(error).split())
        if not isinstance(error, EverhartError):
            text = f"{type(error).__name__}: {text}"
        failure = Failure(item.name, method, text)
        self.failures.append(failure)
        if self.on_failure is not None:
            self.on_failure(failure)


def _crop_region(image: ImageComparison) -> Any:
    """Return where the crops of an image lie: where most structure is."""
    calm = image.reference if image.reference is not None else image.noisy.picture
    return detail_region(calm.shape, structured_point(calm, CROP_PX), CROP_PX)


def _items_of(
    images: Words | Iterable[Words] | Sequence[Item],
    reference: Words | Iterable[Words] | None,
    fields: bool,
) -> list[Item]:
    if isinstance(images, Sequence) and images and all(isinstance(one, Item) for one in images):
        return [one for one in images if isinstance(one, Item)]
    return find_items(images, references=reference, fields=fields)  # type: ignore[arg-type]


def _hashes(item: Item) -> dict[str, str]:
    """Return the sha256 of the files of an item, by role."""
    found = {"image": _sha256(item.image)}
    if item.reference is not None:
        found["reference"] = _sha256(item.reference)
    for number, path in enumerate(item.frames, start=2):
        found[f"frame {number}"] = _sha256(path)
    return found


def _sha256(path: Path) -> str:
    if path.is_dir():  # an image that is a folder: all that is in it
        files = sorted(one for one in path.rglob("*") if one.is_file())
        return key_of(files={one.relative_to(path).as_posix(): _sha256(one) for one in files})
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
