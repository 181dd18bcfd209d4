"""Segment micrographs: by a trained model, or by clusters of features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError
from everhart.micrograph import Array, HistoryEntry, ImageT, Micrograph, field_of

if TYPE_CHECKING:
    from everhart.segment.features import PixelFeatures
    from everhart.segment.few_shot_train import FewShotSegmenter
    from everhart.segment.segmenter import Segmented, Segmenter

__all__ = ["ESTIMATED", "Segmentation", "make_segmentation", "segment"]

ESTIMATED = 0
"""Number of clusters that stands for: estimate it."""


@dataclass(frozen=True)
class Segmentation:
    """A segmentation that is ready to be used.

    Parameters
    ----------
    prepare
        Takes the images that are to be segmented together, and returns the names of the classes
        and what segments one of them; `prepare` is where clusters are found.
    parameters
        What it was asked for, for the history.
    model_hash
        sha256 of the model file, or None.
    """

    prepare: Callable[[Sequence[Array]], tuple[tuple[str, ...], _Frame]]
    parameters: dict[str, Any]
    model_hash: str | None

    def __call__(self, images: Sequence[Micrograph]) -> list[Micrograph]:
        """Segment images; clusters are those of all of them together.

        Returns
        -------
        list of Micrograph
            Label images with the calibration of the images, uint8 for classes and uint16 or int32
            for objects; ``metadata["labels"]`` has the names of the classes. Rows of a data bar
            are 0.
        """
        views = [image.field_of_view for image in images]
        frames = [frame for view in views for frame in (view if view.ndim == 3 else [view])]
        names, segment_frame = self.prepare(frames)
        out = []
        for image, view in zip(images, views, strict=True):
            parts = [
                segment_frame(f, image.pixel_size_nm) for f in (view if view.ndim == 3 else [view])
            ]
            labels = np.stack(parts) if view.ndim == 3 else parts[0]
            out.append(self._labelled(image, labels, names))
        return out

    def _labelled(
        self, image: Micrograph, labels: NDArray[Any], names: tuple[str, ...]
    ) -> Micrograph:
        objects = self.parameters.get("instances", False)
        if objects:  # 16 bits are what PNG holds
            labels = labels.astype(np.uint16 if labels.max(initial=0) < 1 << 16 else np.int32)
        rows = [(0, 0)] * (labels.ndim - 2) + [(0, image.data_bar_rows), (0, 0)]
        said: dict[str, Any] = {"kind": "objects" if objects else "classes"}
        if not objects:
            said["classes"] = {str(number): name for number, name in enumerate(names)}
        entry = HistoryEntry("segment", dict(self.parameters), self.model_hash)
        return replace(
            image,
            pixels=np.pad(labels, rows),
            metadata={**image.metadata, "labels": said},
            history=(*image.history, entry),
        )


_Frame = Callable[[Array, "tuple[float, float] | None"], NDArray[Any]]


def make_segmentation(
    model: str | Path | None = None,
    *,
    clusters: int | None = None,
    instances: bool = False,
    average: bool = False,
    smoothing_px: float = 1.5,
    device: str = "auto",
    engine: str = "auto",
) -> Segmentation:
    """Prepare a segmentation, loading its model once.

    Parameters
    ----------
    model
        Name or file of a model: a segmentation, or for clusters a generator, whose features are
        clustered; without one features made by hand are.
    clusters
        Number of clusters, :data:`ESTIMATED` to estimate it; None for a trained segmentation.
    instances
        Whether single objects are told apart: all that is not of the first class.
    average
        Whether to average over the eight flips and quarter turns of an image.
    smoothing_px
        How far neighbouring pixels decide together on their cluster.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    engine
        What computes a trained segmentation; see :class:`everhart.segment.segmenter.Segmenter`.

    Returns
    -------
    Segmentation
        A function from images to label images.

    Raises
    ------
    UsageError
        If there is no such model, or what was asked for does not go together.
    """
    if model is None and clusters is None:
        raise UsageError(
            "No model and no number of clusters were given: give a model that `everhart train` "
            "made from labelled images, or clusters to segment without labels."
        )
    if clusters is not None:
        if instances:
            raise UsageError(
                "Clusters and instances were asked for: a cluster is no object; ask for one of "
                "the two."
            )
        _check_only_trained("Clusters", average, engine)
        return _by_clusters(model, clusters, smoothing_px, device)
    from everhart.restore.models import find_model
    from everhart.training.model_file import read_header

    assert model is not None
    path = find_model(model)
    header = read_header(path)
    if header.kind == "generator":
        raise UsageError(f"{path} is a generator: give clusters, too, to segment by its features.")
    segmenter: Segmenter | FewShotSegmenter
    segment_one: Callable[..., Segmented]
    if header.architecture == "FeatureClassifier":
        _check_only_trained("A classifier on the features of a generator", average, engine)
        from everhart.segment.few_shot_train import FewShotSegmenter

        segmenter = FewShotSegmenter.load(path, device=device)
        segment_one = segmenter.segment
    else:
        from everhart.segment.segmenter import Segmenter

        segmenter = Segmenter.load(path, device=device, engine=engine)
        segment_one = partial(segmenter.segment, average=average)

    def prepare(_: Sequence[Array]) -> tuple[tuple[str, ...], _Frame]:
        def segment_frame(frame: Array, size: tuple[float, float] | None) -> NDArray[Any]:
            found = segment_one(frame, pixel_size_nm=size, objects=instances)
            return found.classes if found.objects is None else found.objects

        return segmenter.classes, segment_frame

    parameters = {
        "model": segmenter.header.card.name, "instances": instances, "average": average,
    }  # fmt: skip
    return Segmentation(prepare, parameters, segmenter.sha256)


def _check_only_trained(what: str, average: bool, engine: str) -> None:
    """Refuse what is for a segmentation with a network of its own."""
    asked = "an average over flips and turns" if average else f"the engine {engine}"
    if average or engine == "openvino":
        raise UsageError(
            f"{what} and {asked} were asked for: that is for a segmentation with a network of its "
            "own; leave one of the two out."
        )


def _by_clusters(
    model: str | Path | None, clusters: int, smoothing_px: float, device: str
) -> Segmentation:
    from everhart.segment.clusters import MOST_CLUSTERS, fit_clusters

    if clusters != ESTIMATED and not 2 <= clusters <= MOST_CLUSTERS:
        raise UsageError(
            f"{clusters} clusters were asked for: give 2 to {MOST_CLUSTERS}, or 0 to estimate it."
        )
    sha256, name = None, "features made by hand"
    find: Callable[[Sequence[Array]], PixelFeatures]
    if model is None:
        from everhart.segment.features import HandMadeFeatures

        def find(_: Sequence[Array]) -> PixelFeatures:
            return HandMadeFeatures()

    else:
        from everhart.restore.models import find_model
        from everhart.segment.choice import chosen_features
        from everhart.synthesize.generator import Generator

        generator = Generator.load(find_model(model), device=device)
        sha256, name = generator.sha256, generator.header.card.name

        def find(images: Sequence[Array]) -> PixelFeatures:
            return chosen_features(generator, images, clusters or None)

    def prepare(images: Sequence[Array]) -> tuple[tuple[str, ...], _Frame]:
        found = fit_clusters(find(images), images, clusters or None, smoothing_px=smoothing_px)
        names = tuple(f"cluster {number}" for number in range(found.count))
        return names, lambda frame, _: found.segment(frame)

    parameters = {"model": name, "clusters": clusters, "smoothing_px": smoothing_px}
    return Segmentation(prepare, parameters, sha256)


def segment(
    image: ImageT,
    model: str | Path | None = None,
    *,
    clusters: int | None = None,
    instances: bool = False,
    average: bool = False,
    smoothing_px: float = 1.5,
    device: str = "auto",
    engine: str = "auto",
) -> ImageT:
    """Segment a micrograph.

    Parameters
    ----------
    image
        Micrograph or array, ``(H, W)`` or a stack ``(N, H, W)`` whose frames are segmented alike.
    model, clusters, instances, average, smoothing_px, device, engine
        As for :func:`make_segmentation`.

    Returns
    -------
    Micrograph or ndarray
        Labels of the same shape: numbers of classes from 0, or with `instances` of objects from 1.
        A micrograph keeps its calibration; ``metadata["labels"]["classes"]`` names the classes.

    Raises
    ------
    UsageError
        If the call is wrong; see :func:`make_segmentation`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> halves = np.repeat([20.0, 80.0], 32)[None].repeat(64, 0) + rng.normal(0, 5, (64, 64))
    >>> labels = segment(halves, clusters=2)
    >>> labels.shape, int(labels[5, 5]) != int(labels[5, 60])
    ((64, 64), True)
    """
    made = make_segmentation(
        model,
        clusters=clusters,
        instances=instances,
        average=average,
        smoothing_px=smoothing_px,
        device=device,
        engine=engine,
    )
    if isinstance(image, Micrograph):
        return made([image])[0]
    return made([Micrograph(field_of(image))])[0].pixels
