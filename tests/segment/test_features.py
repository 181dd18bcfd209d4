"""Features, clusters and classifiers on them, with a generator of random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import everhart as eh
from everhart.cli import main
from everhart.errors import EverhartError, UsageError
from everhart.metrics.partitions import adjusted_rand_index
from everhart.metrics.segmentation import class_scores
from everhart.nn.diffusion_unet import DiffusionUNet, DiffusionUNetConfig
from everhart.segment.choice import judged_candidates
from everhart.segment.clusters import fit_clusters
from everhart.segment.evaluate import named_clusters
from everhart.segment.features import DiffusionFeatures, HandMadeFeatures
from everhart.segment.few_shot import fit_classifier
from everhart.segment.few_shot_train import train
from everhart.synthesize.generator import Generator
from everhart.training.model_file import ModelCard, ModelHeader, read_header, save_model

from .labelled_discs import discs


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = DiffusionUNet(DiffusionUNetConfig(widths=(8, 16)))
    said = {
        "kind": "grey range", "middle": 110.0, "half": 90.0, "dtype": "uint8",
        "schedule": {"name": "cosine", "steps": 100, "prediction": "v"},
        "classes": [], "mask_values": [], "pixel_size_nm": None, "shape": [64, 64],
    }  # fmt: skip
    header = ModelHeader(
        kind="generator",
        architecture="DiffusionUNet",
        config=network.config.model_dump(mode="json"),
        normalisation=said,
        card=ModelCard(name="random"),
    )
    path = tmp_path_factory.mktemp("generator") / "g.safetensors"
    return save_model(path, header, network.state_dict())


@pytest.fixture(scope="module")
def pictures() -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(8)
    pairs = [discs(rng) for _ in range(3)]
    return [p for p, _ in pairs], [(o > 0).astype(np.uint8) for _, o in pairs]


def test_features_have_the_shape_of_the_image_and_are_the_same_again(generator: Path, rng):
    found = DiffusionFeatures.load(generator, ["down.0.0", "up.1.0"], [2, 5])
    image = rng.integers(0, 255, (37, 45)).astype(np.uint8)
    planes = found.of(image)
    assert planes.shape == (2 * (8 + 16), 37, 45)
    np.testing.assert_array_equal(found.of(image), planes)
    assert not np.array_equal(found.of(255 - image), planes)
    with pytest.raises(UsageError, match="The step 100 was given: the generator knows 0 to 99"):
        DiffusionFeatures.load(generator, ["down.0.0"], [100])
    with pytest.raises(UsageError, match="Unknown block"):
        DiffusionFeatures.load(generator, ["down.7.0"], [1]).of(image)


def test_large_images_are_looked_at_in_tiles(generator: Path, rng, monkeypatch):
    from everhart.segment import features as module

    found = DiffusionFeatures.load(generator, ["down.0.0"], [0], draws=1)
    image = rng.integers(0, 255, (70, 96)).astype(np.uint8)
    whole = found.of(image)
    monkeypatch.setattr(module, "_TILE_PX", 32)
    tiled = found.of(image)
    assert tiled.shape == whole.shape
    # Noise and group normalisation are those of a tile; what is seen is the same.
    assert np.corrcoef(tiled[3].ravel(), whole[3].ravel())[0, 1] > 0.9


@pytest.mark.parametrize("learned", [False, True])
def test_clusters_find_discs(learned: bool, generator: Path, pictures):
    images, truths = pictures
    features = (
        DiffusionFeatures.load(generator, ["down.0.0"], [0]) if learned else HandMadeFeatures()
    )
    found = fit_clusters(features, images, 2)
    clusters = [found.segment(image) for image in images]
    assert np.bincount(np.stack(clusters).ravel()).argmax() == 0  # the largest is the first
    assert adjusted_rand_index(np.stack(clusters), np.stack(truths)) > 0.6
    again = fit_clusters(features, images, 2)
    np.testing.assert_array_equal(again.segment(images[0]), clusters[0])
    named = named_clusters(clusters, truths, 2)
    assert class_scores(named, truths, 2).mean_iou > 0.6


def test_the_number_of_clusters_is_estimated(rng):
    # Three flat levels with little noise: nothing else to see at this scale.
    levels = np.repeat([20.0, 100.0, 180.0], 30)[None].repeat(60, 0)
    images = [levels + rng.normal(0, 2, levels.shape) for _ in range(2)]
    found = fit_clusters(HandMadeFeatures((1.0,)), images, None)
    labels = found.segment(images[0])
    assert found.count >= 3
    middles = [labels[30, x] for x in (15, 45, 75)]
    assert len(set(middles)) == 3


def test_wrong_calls_of_clusters():
    image = np.eye(40)
    with pytest.raises(UsageError, match="No image"):
        fit_clusters(HandMadeFeatures(), [], 2)
    with pytest.raises(UsageError, match="2 to 32"):
        fit_clusters(HandMadeFeatures(), [image], 40)
    with pytest.raises(UsageError, match="constant"):
        fit_clusters(HandMadeFeatures(), [image * 0], 2)

    class Same:
        def of(self, pixels):
            return np.ones((3, *pixels.shape), np.float32)

    with pytest.raises(EverhartError, match="the same features"):
        fit_clusters(Same(), [image], 2)


def test_candidates_are_judged_without_labels(generator: Path, pictures):
    found = judged_candidates(Generator.load(generator), pictures[0][:2], 2)
    assert {c.block for c in found} == {"down.0.0", "down.1.0", "up.1.0", "up.1.1", "up.0.0",
                                        "up.0.1"}  # fmt: skip
    agreed = [c.agreement for c in found]
    assert agreed == sorted(agreed, reverse=True)
    assert all(-1 <= value <= 1 for value in agreed)


def test_one_labelled_image_is_enough_for_discs(generator: Path, pictures):
    images, truths = pictures
    features = DiffusionFeatures.load(generator, ["down.0.0", "up.0.0"], [0])
    classifier = fit_classifier(features, images[:1], truths[:1], 2, steps=100)
    said = [classifier.segment(image) for image in images[1:]]
    assert class_scores(said, truths[1:], 2).mean_iou > 0.8
    with pytest.raises(UsageError, match="values up to 1"):
        fit_classifier(features, images[:1], truths[:1], 1)
    with pytest.raises(UsageError, match="1 images and 0 label images"):
        fit_classifier(features, images[:1], [], 2)


def test_a_few_shot_model_is_one_file(generator: Path, labelled: Path, tmp_path: Path):
    config = {
        "task": "segment-features",
        "generator": str(generator),
        "data": {"folder": str(labelled)},
        "classes": {"background": 0, "disc": "rest"},
        "train": {"fields": ["field_0"]},
        "validation": {"fields": ["field_6", "field_7"]},
        "gap": 1,
        "steps": [0],
        "fit_steps": 100,
    }
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    model = train(path, tmp_path / "run")
    assert train(path, tmp_path / "run", resume=True) == model
    card = read_header(model).card
    assert card.metrics["validation_mean_iou"] > 0.8
    assert card.started_from == "random"
    image = eh.read(labelled / "images" / "field_5.tif")
    labels = eh.segment(image, model)
    truth = eh.read(labelled / "labels" / "field_5.png").pixels > 0
    assert class_scores([labels.pixels], [truth.astype(np.uint8)], 2).mean_iou > 0.8
    assert labels.metadata["labels"]["classes"]["1"] == "disc"
    del config["gap"]
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    with pytest.raises(UsageError, match="validation needs a gap"):
        train(path, tmp_path / "other")


def test_more_clusters_than_classes_do_not_lower_the_mean_of_the_classes(
    labelled: Path, tmp_path: Path
):
    report = tmp_path / "r.html"
    call = ["segment", labelled / "images", "-o", tmp_path / "out", "--clusters", 3, "--truth",
            tmp_path / "true", "--report", report, "--json", tmp_path / "s.json"]  # fmt: skip
    (tmp_path / "true").mkdir()
    for path in (labelled / "labels").iterdir():  # objects become one class
        there = (eh.read(path).pixels > 0).astype(np.uint8)
        eh.write(eh.Micrograph(there), tmp_path / "true" / path.name)
    assert main([str(word) for word in call]) == 0
    pooled = json.loads((tmp_path / "s.json").read_text("utf-8"))["scores"]["pooled"]
    assert pooled["iou"]["no class"] is None
    both = (pooled["iou"]["0"] + pooled["iou"]["1"]) / 2
    assert pooled["mean_iou"] == pytest.approx(both, abs=1e-5)
    assert "no class" in report.read_text("utf-8")


def test_clusters_of_a_folder_are_the_same_in_all_images(
    generator: Path, labelled: Path, tmp_path: Path
):
    call = ["segment", labelled / "images", "-o", tmp_path / "out", "-m", generator,
            "--clusters", 2]  # fmt: skip
    assert main([str(word) for word in call]) == 0
    said = [eh.read(path) for path in sorted((tmp_path / "out").iterdir())]
    assert len(said) == 8
    assert said[0].metadata["labels"]["classes"] == {"0": "cluster 0", "1": "cluster 1"}
    assert said[0].history[-1].parameters["model"] == "random"
    with pytest.raises(UsageError, match="give clusters, too"):
        eh.segment(np.eye(40), generator)
