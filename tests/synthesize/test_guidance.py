"""Guidance: on a mixture of Gaussians where the answer is known, and by a trained classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor
from typer.testing import CliRunner

from everhart import UsageError, read, write
from everhart.cli.app import app
from everhart.synthesize.classifier_training import train as train_classifier
from everhart.synthesize.generator import Generator
from everhart.synthesize.guidance import Guide, by_classifier, without_classifier
from everhart.synthesize.samplers import ddpm
from everhart.synthesize.schedule import NoiseSchedule
from everhart.synthesize.train import train
from everhart.synthesize.training_images import ImagesConfig, load_images

MEANS = torch.tensor([[0.6, -0.3], [-0.5, 0.4], [0.1, 0.9]], dtype=torch.float64)
SHARES = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.2, 0.08], [0.08, 0.12]], dtype=torch.float64)


def _log_joint(x: Tensor, schedule: NoiseSchedule, t: Tensor) -> Tensor:
    """Log of share times density of each class, but for a constant; ``(N, 3)``."""
    a, s = schedule.level(int(t[0]))
    inverse = torch.linalg.inv(a**2 * COVARIANCE + s**2 * torch.eye(2, dtype=torch.float64))
    away = x.flatten(1)[:, None] - a * MEANS
    return SHARES.log() - 0.5 * torch.einsum("nci,ij,ncj->nc", away, inverse, away)


def _ideal(schedule: NoiseSchedule, number: int | None = None) -> Any:
    """Return what the ideal network says of the mixture, or of one class of it."""

    def predict(x: Tensor, t: Tensor) -> Tensor:
        a, s = schedule.level(int(t[0]))
        with torch.enable_grad():
            seen = x.detach().requires_grad_()
            joint = _log_joint(seen, schedule, t)
            density = joint.logsumexp(1) if number is None else joint[:, number]
            (score,) = torch.autograd.grad(density.sum(), seen)
        noise = -s * score
        return noise if schedule.prediction == "noise" else (noise - s * x) / a

    return predict


def _drawn(predict: Any, schedule: NoiseSchedule) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((4000, 1, 1, 2), generator=generator, dtype=torch.float64)
    return ddpm(predict, noise, schedule, 150, generator=generator).flatten(1)


@pytest.mark.parametrize("prediction", ["noise", "v"])
def test_samples_are_those_of_the_class(prediction: Any) -> None:
    schedule = NoiseSchedule("cosine", 1000, prediction)
    plain = _ideal(schedule)
    every = _drawn(plain, schedule)
    np.testing.assert_allclose(every.mean(0), SHARES @ MEANS, atol=0.03)
    for number in (1, 2):

        def classifier(x: Tensor, t: Tensor, number: int = number) -> Tensor:
            return _log_joint(x, schedule, t).log_softmax(1)[:, number]

        guided = _drawn(by_classifier(plain, classifier, schedule), schedule)
        np.testing.assert_allclose(guided.mean(0), MEANS[number], atol=0.025)
        np.testing.assert_allclose(torch.cov(guided.T), COVARIANCE, atol=0.012)
        # The same noise and the same distribution: the same images as of a network that knows it.
        own = _drawn(without_classifier(_ideal(schedule, number), plain, 1.0), schedule)
        torch.testing.assert_close(guided, own, atol=1e-6, rtol=0)


def test_more_guidance_is_the_same_from_either() -> None:
    schedule = NoiseSchedule("cosine", 1000, "v")
    plain = _ideal(schedule)

    def classifier(x: Tensor, t: Tensor) -> Tensor:
        return _log_joint(x, schedule, t).log_softmax(1)[:, 0]

    x = torch.randn((50, 1, 1, 2), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    t = torch.full((50,), 400)
    by_gradient = by_classifier(plain, classifier, schedule, 2.5)(x, t)
    by_difference = without_classifier(_ideal(schedule, 0), plain, 2.5)(x, t)
    torch.testing.assert_close(by_gradient, by_difference)
    assert float((by_gradient - plain(x, t)).abs().max()) > 0.05


def _image(rng: np.random.Generator, level: float) -> np.ndarray:
    image = np.full((16, 16), level) + rng.normal(0, 6, (16, 16))
    return np.asarray(image.round().clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A generator that knows no classes, and a classifier of dim and light."""
    place = tmp_path_factory.mktemp("guided")
    (place / "images").mkdir()
    rng, rows = np.random.default_rng(0), ["file,label"]
    for n in range(8):
        kind = ("dim", "light")[n % 2]
        write(_image(rng, 90.0 if kind == "dim" else 160.0), place / "images" / f"i{n}.tif")
        rows.append(f"i{n}.tif,{kind}")
    (place / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    optimiser = {
        "steps": 160, "batch_size": 8, "learning_rate": 2e-3, "steps_per_epoch": 40,
        "ema_decay": 0.97, "threads": 1, "precision": "fp32",
    }  # fmt: skip
    data = {"folder": str(place / "images")}
    generator = {
        "task": "diffusion", "data": data, "optimiser": optimiser,
        "network": {"widths": [16, 16], "groups": 4},
    }  # fmt: skip
    (place / "generator.yaml").write_text(yaml.safe_dump(generator), encoding="utf-8")
    model = train(place / "generator.yaml", place / "generator")
    table = {"labels": "table", "label_table": str(place / "labels.csv"), "held_out": 2}
    classifier = {
        "task": "noisy-classifier", "generator": str(model), "data": {**data, **table},
        "network": {"widths": [8, 16], "groups": 4}, "optimiser": {**optimiser, "steps": 120},
    }  # fmt: skip
    (place / "classifier.yaml").write_text(yaml.safe_dump(classifier), encoding="utf-8")
    words = ["train", str(place / "classifier.yaml"), "-o", str(place / "classifier")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return {
        "place": place, "generator": model, "classifier": place / "classifier/model.safetensors",
    }  # fmt: skip


def test_a_trained_classifier_draws_to_its_label(models: dict[str, Path], tmp_path: Path) -> None:
    means = {}
    for label in ("dim", "light"):
        out = tmp_path / label
        words = ["synthesize", "-m", str(models["generator"]), "-o", str(out), "-n", "6"]
        words += ["--label", label, "--classifier", str(models["classifier"]), "--steps", "40"]
        done = CliRunner().invoke(app, [*words, "--guidance", "2"])
        assert done.exit_code == 0, done.output
        images = [read(path) for path in sorted(out.iterdir())]
        means[label] = [float(image.pixels.mean()) for image in images]
        said = images[0].history[-1].parameters
        assert said["classifier_sha256"] == Guide.load(models["classifier"]).sha256
    assert max(means["dim"]) < min(means["light"])
    assert np.mean(means["dim"]) == pytest.approx(90, abs=25)
    assert np.mean(means["light"]) == pytest.approx(160, abs=25)


def test_the_classifier_says_how_good_it_is(models: dict[str, Path]) -> None:
    card = Guide.load(models["classifier"]).header.card
    assert card.metrics["validation_accuracy"] > 0.6  # of all noise levels, pure noise among them


def test_a_resumed_classifier_is_the_same(models: dict[str, Path]) -> None:
    from everhart.synthesize.classifier_training import _Task

    losses, count = _Task.losses, 0

    def stops(self: _Task, batch: Any) -> Any:
        nonlocal count
        count += 1
        if count > 90:
            raise KeyboardInterrupt
        return losses(self, batch)

    config, run = models["place"] / "classifier.yaml", models["place"] / "stopped"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_Task, "losses", stops)
        with pytest.raises(KeyboardInterrupt):
            train_classifier(config, run)
    resumed = Guide.load(train_classifier(config, run, resume=True)).network.state_dict()
    for name, weight in Guide.load(models["classifier"]).network.state_dict().items():
        assert torch.equal(weight, resumed[name]), name


def test_wrong_calls_are_refused(models: dict[str, Path], tmp_path: Path) -> None:
    generator, guide = Generator.load(models["generator"]), Guide.load(models["classifier"])
    with pytest.raises(UsageError, match="without a label"):
        generator.synthesize(1, classifier=guide)
    with pytest.raises(UsageError, match="light"):
        generator.synthesize(1, classifier=guide, label="ligt")
    with pytest.raises(UsageError, match="another generator"):
        guide.check("dim", {**generator.header.normalisation, "middle": 3.0})
    other = {**generator.header.normalisation, "schedule": {"name": "linear", "steps": 1000}}
    with pytest.raises(UsageError, match="noise schedule"):
        guide.check("dim", other)
    own = generator.header.normalisation
    with pytest.raises(UsageError, match="noise schedule"):
        guide.check("dim", {**own, "schedule": {**own["schedule"], "shift": 4.0}})
    # Models of before say nothing of a shift, and have none.
    before = {k: v for k, v in own["schedule"].items() if k != "shift"}
    guide.check("dim", {**own, "schedule": before})
    with pytest.raises(UsageError, match="kind 'noisy-classifier'"):
        Generator.load(models["classifier"])
    config = models["place"] / "classifier.yaml"
    with pytest.raises(UsageError, match="kind 'noisy-classifier'"):
        train_classifier(config, tmp_path / "r", [f"generator={models['classifier']}"])
    with pytest.raises(UsageError, match="learns classes"):
        train_classifier(config, tmp_path / "r", ["data.labels=none", "data.label_table=null"])
    assert not (tmp_path / "r").exists()


def test_labels_from_a_table(models: dict[str, Path], tmp_path: Path) -> None:
    table = models["place"] / "labels.csv"
    settings: dict[str, Any] = {"folder": str(models["place"] / "images"), "labels": "table"}
    images = load_images(ImagesConfig(**settings, label_table=str(table)), 0)
    assert images.classes == ("dim", "light")
    assert [image.label for image in images.images] == [0, 1] * 4
    wrong = tmp_path / "labels.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    for text, said in (
        ("\n".join(lines[:-1]), "no label for i7.tif"),
        ("\n".join(lines).replace("light", "dim"), "two kinds"),
        ("a,b\n1,2", "first line is file,label"),
    ):
        wrong.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match=said):
            load_images(ImagesConfig(**settings, label_table=str(wrong)), 0)
    with pytest.raises(UsageError, match="no file"):
        load_images(ImagesConfig(**settings, label_table=str(tmp_path / "none.csv")), 0)
    with pytest.raises(ValueError, match="go together"):
        ImagesConfig(**settings)
