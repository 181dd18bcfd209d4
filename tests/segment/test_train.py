"""Training and use of a segmentation, from a config to label images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import everhart as eh
from everhart.cli import main
from everhart.errors import UsageError
from everhart.metrics.partitions import instance_match
from everhart.metrics.segmentation import class_scores
from everhart.operations import OPERATIONS
from everhart.segment.objects import holes_px, separated
from everhart.segment.segmenter import Segmenter
from everhart.segment.train import train
from everhart.training.model_file import load_model, read_header, save_model

from .labelled_discs import discs, settings, written


def test_a_model_tells_discs_from_background(model: Path, rng):
    image, objects = discs(rng, 96)
    found = Segmenter.load(model, device="cpu").segment(image, objects=True)
    scores = class_scores([found.classes], [objects > 0], 2)
    assert scores.mean_iou > 0.85
    assert instance_match(found.objects, objects).recall >= 0.5
    header = read_header(model)
    assert (header.kind, header.inference["classes"]) == ("segment", ["background", "disc"])
    assert header.card.name == "discs"
    assert "6 labelled images" in header.card.training_data


def test_places_are_learned_where_crops_are_whole_images(tmp_path: Path):
    """Noise has no other sign of its class than where it is: nothing may be added at use."""
    rng = np.random.default_rng(0)
    truth = np.zeros((32, 32), np.uint8)
    truth[16:] = 1
    for number in range(12):
        noise = rng.normal(100, 10, truth.shape).astype(np.float32)
        eh.io.write(noise, tmp_path / f"{number}.tif")
        eh.io.write(truth, tmp_path / f"{number}.png")
    config = {
        "task": "segment",
        "data": {"folder": str(tmp_path), "images": "*.tif", "labels": "*.png"},
        "classes": {"upper": 0, "lower": 1},
        "crop_px": 32,
        "network": {"widths": [8, 16, 32], "stem": 1},
        "augmentation": {"flips": False, "count": 0},
        "optimiser": {
            "steps": 120, "batch_size": 8, "learning_rate": 5e-3, "warmup_steps": 10,
            "ema_decay": 0.9, "steps_per_epoch": 120, "threads": 1,
        },
    }  # fmt: skip
    segmenter = Segmenter.load(train(written(config, tmp_path / "c"), tmp_path / "run"))
    found = segmenter.segment(rng.normal(100, 10, truth.shape).astype(np.float32)).classes
    assert ((found == segmenter.classes.index("lower")) == truth).mean() > 0.95


def test_tiles_are_not_seen(model: Path, rng):
    image, _ = discs(rng, 150)
    segmenter = Segmenter.load(model, device="cpu", precision="fp32")
    whole = segmenter.segment(image).classes
    for tile_px in (48, 96):
        np.testing.assert_array_equal(segmenter.segment(image, tile_px=tile_px).classes, whole)
    averaged = segmenter.segment(image, average=True).classes
    for tile_px in (48, 96):
        np.testing.assert_array_equal(
            segmenter.segment(image, average=True, tile_px=tile_px).classes, averaged
        )


def test_an_average_over_flips_and_turns_does_not_know_which_way_is_up(model: Path, rng):
    image, objects = discs(rng, 144)
    segmenter = Segmenter.load(model, device="cpu", precision="fp32")
    for average, least in ((False, 0), (True, 0.9999)):
        plain = segmenter.segment(image, average=average).classes
        turned = segmenter.segment(np.rot90(image), average=average).classes
        agreed = (turned == np.rot90(plain)).mean()
        assert agreed >= least
        if not average:
            assert agreed < 1  # or there would be nothing to average
    scores = class_scores([segmenter.segment(image, average=True).classes], [objects > 0], 2)
    assert scores.mean_iou > 0.85


def test_holes_are_filled_where_no_labelled_object_has_one(labelled: Path, tmp_path: Path):
    ring = np.zeros((40, 40), np.uint8)
    ring[5:20, 5:20], ring[9:16, 9:16], ring[25:35, 8:30] = 2, 0, 2
    ring[27:33, 10:28] = 1
    ring[8:17, 8:17][ring[8:17, 8:17] == 2] = 1
    open_, solid = (separated(ring, rims=True, fill_holes=fill) for fill in (False, True))
    assert (open_[10, 10], solid[10, 10]) == (0, solid[5, 5])
    assert ((open_ == solid) | (open_ == 0)).all()
    assert solid[0, 0] == 0
    assert (holes_px(open_), holes_px(solid)) == (49, 0)
    config = settings(labelled, border_px=1, fill_holes="auto")
    config["optimiser"] = {**config["optimiser"], "steps": 1}
    made = train(written(config, tmp_path / "c"), tmp_path / "run")
    assert read_header(made).inference["fill_holes"] is True
    segmenter = Segmenter.load(made, device="cpu")
    segmenter._run = lambda *_: ring
    found = segmenter.segment(np.random.default_rng(0).normal(size=(40, 40)), objects=True)
    assert (found.classes == (solid > 0)).all()
    assert (found.objects == solid).all()


def test_one_grey_scale_for_all_images_takes_them_as_they_are(labelled: Path, tmp_path: Path):
    config = settings(labelled, normalisation="set")
    config["optimiser"] = {**config["optimiser"], "steps": 1}
    made = train(written(config, tmp_path / "c"), tmp_path / "run")
    assert read_header(made).normalisation["kind"] == "set"
    segmenter = Segmenter.load(made, device="cpu", precision="fp32")
    image, _ = discs(np.random.default_rng(3), 96)
    whole = segmenter.segment(image).classes
    # A part that holds background alone is judged as it was in the whole.
    part = segmenter.segment(image[:64]).classes
    assert (part[:20] == whole[:20]).all()
    with pytest.raises(UsageError, match="grey levels with a deviation of"):
        segmenter.segment(image / 5000.0)


def test_openvino_gives_the_scores_of_pytorch(model: Path, rng):
    pytest.importorskip("openvino")
    window = torch.from_numpy(rng.normal(size=(1, 1, 48, 64)).astype(np.float32))
    both = [
        Segmenter.load(model, device="cpu", precision="fp32", engine=name)
        for name in ("torch", "openvino")
    ]
    with torch.inference_mode():
        first, second = (segmenter._scores(window) for segmenter in both)
    assert first.std() > 0.1
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)
    image, _ = discs(rng, 100)
    same = both[0].segment(image).classes == both[1].segment(image, tile_px=48).classes
    assert same.mean() > 0.999
    assert Segmenter.load(model, device="cpu").engine == "openvino"
    with pytest.raises(UsageError, match="auto, torch or openvino"):
        Segmenter.load(model, device="cpu", engine="onnx")


def test_without_openvino_pytorch_is_taken(model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("everhart.segment.segmenter.find_spec", lambda _: None)
    assert Segmenter.load(model, device="cpu").engine == "torch"
    with pytest.raises(UsageError, match=r"install everhart\[openvino\]"):
        Segmenter.load(model, device="cpu", engine="openvino")


def test_grey_levels_and_dtype_do_not_matter(model: Path, rng):
    image, _ = discs(rng)
    segmenter = Segmenter.load(model, device="cpu", precision="fp32")
    expected = segmenter.segment(image).classes
    stretched = segmenter.segment(image.astype(np.uint16) * 90 + 1000).classes
    assert (stretched == expected).mean() > 0.999
    with pytest.raises(UsageError, match="is constant"):
        segmenter.segment(np.full((40, 40), 3.0))


def test_a_resumed_run_repeats_the_uninterrupted_one(labelled: Path, tmp_path: Path):
    config = written(settings(labelled, validation={"blocks": [[7, 7]]}, gap=1), tmp_path / "c")
    whole = load_model(train(config, tmp_path / "whole"), "segment").weights
    from everhart.segment import task as module

    calls = 0
    original = module.SegmentationTask.losses

    def failing(self, batch):
        nonlocal calls
        calls += 1
        if calls > 6:
            raise InterruptedError
        return original(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.SegmentationTask, "losses", failing)
        with pytest.raises(InterruptedError):
            train(config, tmp_path / "cut")
    again = load_model(train(config, tmp_path / "cut", resume=True), "segment").weights
    for name, weight in whole.items():
        torch.testing.assert_close(again[name], weight, rtol=0, atol=0)


@pytest.mark.parametrize("task", ["poisson-denoise", "pix2pix"])
def test_pretrained_models_denoise_and_are_a_start(task: str, labelled: Path, tmp_path: Path):
    from everhart.segment.pretraining import train as pretrain

    config = settings(labelled)
    pretraining = {
        "task": task,
        "data": {"folder": str(labelled), "images": "images/*"},
        **{name: config[name] for name in ("crop_px", "network", "optimiser")},
    }
    if task == "pix2pix":
        pretraining["patchgan_width"] = 4
    path = written(pretraining, tmp_path / "p.yaml")
    made = pretrain(path, tmp_path / "p")
    assert read_header(made).kind == "denoiser"
    if task == "pix2pix":
        _check_resumed(path, made, tmp_path, pretrain)
        said = (tmp_path / "p" / "config.yaml").read_text("utf-8")
        assert "learning_rate: 0.0002" in said
    image, _ = discs(np.random.default_rng(0))
    assert eh.denoise(image, model=made).shape == image.shape
    config["start_from"], config["network"] = str(made), None
    config["optimiser"] = {**config["optimiser"], "steps": 1, "learning_rate": 1e-9}
    started = load_model(train(written(config, tmp_path / "c"), tmp_path / "r"), "segment")
    before = load_model(made, "denoiser").weights
    for name, weight in started.weights.items():
        if not name.startswith("unet.head"):
            torch.testing.assert_close(weight, before[name], rtol=0, atol=1e-6)
    assert started.header.card.started_from_sha256 == load_model(made, "denoiser").sha256


def _check_resumed(path: Path, whole: Path, tmp_path: Path, pretrain) -> None:
    """Both optimisers go on where they were: a run that is cut after an epoch ends the same."""
    from everhart.segment.pretraining_task import Pix2PixTask

    original, calls = Pix2PixTask.training_step, 0

    def failing(self, batch, batch_idx):
        nonlocal calls
        calls += 1
        if calls > 5:
            raise InterruptedError
        return original(self, batch, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Pix2PixTask, "training_step", failing)
        with pytest.raises(InterruptedError):
            pretrain(path, tmp_path / "cut")
    again = load_model(pretrain(path, tmp_path / "cut", resume=True), "denoiser").weights
    for name, weight in load_model(whole, "denoiser").weights.items():
        torch.testing.assert_close(again[name], weight, rtol=0, atol=0)


def test_a_start_that_does_not_fit_is_refused(labelled: Path, model: Path, tmp_path: Path):
    config = settings(labelled, start_from="sem-general")
    with pytest.raises(UsageError, match="leave network out, or give the same"):
        train(written(config, tmp_path / "c"), tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_rims_take_touching_objects_apart():
    objects = np.zeros((40, 60), np.uint8)
    objects[8:32, 6:30], objects[8:32, 30:54] = 1, 2
    from everhart.segment.labelled import rims

    found = separated(rims(objects, 2), rims=True)
    assert instance_match(found, objects, threshold=0.9).average_precision == 1
    specks = rims(objects, 2)
    specks[2:5, 40:58], specks[35:39, 5:10] = 2, 1  # a rim without an inside, and something small
    assert separated(specks, rims=True, smallest_px=30).max() == 2
    assert separated(specks, rims=True, smallest_px=10).max() == 3
    assert len(np.unique(separated((objects > 0).astype(np.uint8), rims=False))) == 2


def test_operation_function_and_file_agree(model: Path, labelled: Path, tmp_path: Path):
    source = labelled / "images" / "field_7.tif"
    image = eh.read(source)
    labels = eh.segment(image, model)
    assert labels.pixels.dtype == np.uint8
    assert labels.pixel_size_nm == image.pixel_size_nm
    assert labels.metadata["labels"]["classes"] == {"0": "background", "1": "disc"}
    assert labels.history[-1].operation == "segment"
    outcome = OPERATIONS["segment"](image, model=str(model))
    np.testing.assert_array_equal(outcome.micrographs[0].pixels, labels.pixels)
    assert sum(outcome.results[0]["percent"].values()) == pytest.approx(100, abs=0.01)
    out = tmp_path / "labels.png"
    words = ["segment", source, "-o", out, "--model", model, "--overlay", tmp_path / "seen.png",
             "--json", tmp_path / "done.json"]  # fmt: skip
    assert main([str(word) for word in words]) == 0
    written_labels = eh.read(out)
    np.testing.assert_array_equal(written_labels.pixels, labels.pixels)
    assert written_labels.metadata["labels"]["classes"]["1"] == "disc"
    assert written_labels.pixel_size_nm == pytest.approx(image.pixel_size_nm)
    assert (tmp_path / "seen.png").is_file()
    (record,) = json.loads((tmp_path / "done.json").read_text("utf-8"))["images"]
    assert record["percent"]["disc"] > 5
    averaged = tmp_path / "averaged.tif"
    call = ["segment", source, "-o", averaged, "--model", model, "--average"]
    assert main([str(word) for word in call]) == 0
    assert eh.read(averaged).history[-1].parameters["average"] is True
    assert (eh.read(averaged).pixels == labels.pixels).mean() > 0.9
    with pytest.raises(UsageError, match="average over flips and turns were asked for"):
        eh.segment(image, clusters=2, average=True)
    with pytest.raises(UsageError, match="the engine openvino were asked for"):
        eh.segment(image, clusters=2, engine="openvino")


def test_objects_go_straight_into_the_measurement(model: Path, labelled: Path, tmp_path: Path):
    out = tmp_path / "objects"
    call = ["segment", labelled / "images", "-o", out, "--model", model, "--instances"]
    assert main([str(word) for word in call]) == 0
    assert len(list(out.iterdir())) == 8
    table = tmp_path / "t.csv"
    assert (
        main(["measure", "particles", str(out / "field_1.tif"), "--labels", "-o", str(table)]) == 0
    )
    assert "diameter_nm" in table.read_text("utf-8").splitlines()[0]


def test_a_data_bar_is_left_out(model: Path, rng):
    image, _ = discs(rng)
    bar = np.full((10, 64), 255, np.uint8)
    whole = eh.Micrograph(np.concatenate([image, bar]), (1.0, 1.0), data_bar_rows=10)
    labels = eh.segment(whole, model)
    assert labels.shape == whole.shape
    assert labels.data_bar_rows == 10
    np.testing.assert_array_equal(labels.field_of_view, eh.segment(image, model))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "No model and no number of clusters"),
        ({"clusters": 1}, "1 clusters were asked for: give 2 to 32"),
        ({"clusters": 3, "instances": True}, "a cluster is no object"),
        ({"model": "sem-general"}, "kind 'denoiser', and a 'segment' is needed"),
        ({"model": "nowhere.safetensors"}, "There is no model file"),
    ],
)
def test_wrong_calls(values, said):
    with pytest.raises(UsageError, match=said):
        OPERATIONS["segment"](eh.Micrograph(np.eye(40)), **values)


def test_the_truth_judges(model: Path, labelled: Path, tmp_path: Path):
    def judged(*more: object) -> dict:
        call = [
            "segment", labelled / "images", "-o", tmp_path / "out", "--truth", labelled / "labels",
            "--report", tmp_path / "r.html", "--json", tmp_path / "d.json", "--overwrite", *more,
        ]  # fmt: skip
        assert main([str(word) for word in call]) == 0
        return json.loads((tmp_path / "d.json").read_text("utf-8"))["scores"]

    scores = judged("--model", model)
    assert scores["pooled"]["mean_iou"] > 0.85
    assert set(scores["pooled"]["iou"]) == {"background", "disc"}
    assert len(scores["images"]) == 8
    page = (tmp_path / "r.html").read_text("utf-8")
    assert page.count("<h3>") == 8
    assert "http" not in page.replace("http-equiv", "")
    scores = judged("--model", model, "--instances")
    assert scores["pooled"]["objects"]["found"] > 10
    assert judged("--clusters", 2)["pooled"]["iou"]["0"] > 0.8


def test_pixels_that_do_not_count_are_no_objects(model: Path, labelled: Path, tmp_path: Path):
    loaded = load_model(model, "segment")
    inference = {**loaded.header.inference, "ignored": [200]}
    header = loaded.header.model_copy(update={"inference": inference})
    save_model(tmp_path / "m.safetensors", header, loaded.weights)
    label = eh.read(labelled / "labels" / "field_1.png").pixels.copy()
    found = []
    for name in ("all", "some"):
        eh.write(eh.Micrograph(label), tmp_path / f"{name}.png")
        call = [
            "segment", labelled / "images" / "field_1.tif", "-o", tmp_path / f"{name}.tif",
            "--model", tmp_path / "m.safetensors", "--instances",
            "--truth", tmp_path / f"{name}.png", "--report", tmp_path / f"{name}.html",
            "--json", tmp_path / f"{name}.json",
        ]  # fmt: skip
        assert main([str(word) for word in call]) == 0
        scores = json.loads((tmp_path / f"{name}.json").read_text("utf-8"))["scores"]["pooled"]
        found.append({key: scores["objects"][key] for key in ("found", "made_up", "missed")})
        free = np.argwhere(eh.read(tmp_path / "all.tif").pixels + label == 0)[:40]
        label[tuple(free.T)] = 200
    assert found[0] == found[1]


def test_wrong_truths(model: Path, labelled: Path, tmp_path: Path, capfd):
    source, out = labelled / "images" / "field_1.tif", tmp_path / "x.tif"
    call = ["segment", source, "-o", out, "--model", model]
    assert main([str(w) for w in [*call, "--truth", labelled / "labels"]]) == 2
    assert "--truth and --report go together" in capfd.readouterr().err
    report = ["--report", tmp_path / "r.html"]
    assert main([str(w) for w in [*call, "--truth", tmp_path, *report]]) != 0
    assert not out.exists()
