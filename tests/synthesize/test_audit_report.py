"""The audit's page, and its figures in the model's card."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from typer.testing import CliRunner

from everhart import Micrograph, write
from everhart.cli.app import app
from everhart.errors import UsageError
from everhart.nn.diffusion_unet import DiffusionUNet, DiffusionUNetConfig
from everhart.report.audit import render_audit_html
from everhart.synthesize.audit import audit
from everhart.synthesize.generator_header import ARCHITECTURE, KIND
from everhart.synthesize.training_images import hash_of
from everhart.training.model_file import ModelCard, ModelHeader, load_model, save_model


def _bars(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    image = np.where(np.arange(32) % 16 < 8, 60.0, 160.0) + np.zeros((32, 1))
    return (np.roll(image, rng.integers(16), axis=1) + rng.normal(0, 12, image.shape)).astype(
        np.float32
    )


def _model(path: Path, learned: list[np.ndarray], edge_px: int = 32) -> Path:
    torch.manual_seed(0)
    network = DiffusionUNet(DiffusionUNetConfig(widths=(8,), attention=(False,)))
    said = {
        "kind": "grey range", "middle": 110.0, "half": 60.0, "dtype": "float32",
        "schedule": {"name": "cosine", "steps": 1000, "prediction": "v"},
        "classes": [], "mask_values": [], "pixel_size_nm": None, "shape": [edge_px, edge_px],
    }  # fmt: skip
    card = ModelCard.model_validate(
        {"name": "<bars>", "learned_sha256": [hash_of(image) for image in learned]}
    )
    header = ModelHeader(
        kind=KIND,
        architecture=ARCHITECTURE,
        config=network.config.model_dump(mode="json"),
        normalisation=said,
        card=card,
    )
    return save_model(path, header, network.state_dict(), dtype="float16")


def test_the_page_and_the_card_say_what_the_audit_found(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    pixels = [_bars(n) for n in range(16)]
    for n, image in enumerate(pixels):
        write(image, images / f"{n:02d}.tif")
    model = _model(tmp_path / "model.safetensors", pixels[:6])
    before, size = load_model(model, KIND), model.stat().st_size
    words = ["audit", "-m", str(model), "--real", str(images), "-n", "5", "--steps", "2"]
    words += ["-o", str(tmp_path / "audit.html"), "--json", str(tmp_path / "audit.json"), "--embed"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    page = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 5 + 10 + 2 * 5
    assert "http" not in page.replace("http-equiv", "")
    assert "&lt;bars&gt;" in page
    assert "<bars>" not in page
    record = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
    after = load_model(model, KIND)
    card = after.header.card.model_dump()
    assert card["audit"]["geometric_mean"] == record["geometric_mean"]
    assert card["audit"]["images"] == {"made": 5, "learned": 6, "held_out": 10}
    assert card["audited_sha256"] == before.sha256 == record["model_hash"] != after.sha256
    assert all(torch.equal(after.weights[name], w) for name, w in before.weights.items())
    assert model.stat().st_size < size + 4000  # still in half precision


def test_the_page_shows_copies_first() -> None:
    learned, held_out = [_bars(n) for n in range(6)], [_bars(n) for n in range(10, 22)]
    made = [_bars(n) for n in range(40, 50)]
    made[7] = learned[2]
    found = audit(made, learned, held_out)
    page = render_audit_html(found, made, learned, held_out, name="bars", facts={})
    assert found.copies.copies == (7,)
    assert page.count("A copy.") == 1
    pairs = page[page.index("Most like an image") :]
    assert pairs.index("A copy.</b> synthetic 7 and learned 2") < pairs.index("</figcaption>")
    assert "mean nothing" in page


def _lines(seed: int, *, there: bool = True) -> Micrograph:
    rng = np.random.default_rng(seed)
    x = np.arange(72) - rng.uniform(0, 18)
    away = np.abs((x + 9) % 18 - 9) - rng.normal(4.5, 0.1)
    image = 60 + 110 / (1 + np.exp(away / 0.6)) * there + rng.normal(0, 8, (72, 72))
    return Micrograph(image.astype(np.float32))


def test_measured_sizes_are_in_the_page_and_in_the_card(tmp_path: Path) -> None:
    images, made = tmp_path / "images", tmp_path / "made"
    images.mkdir()
    made.mkdir()
    real = [_lines(n) for n in range(12)]
    for n, image in enumerate(real):
        write(image, images / f"{n:02d}.tif")
    for n in range(6):
        write(_lines(50 + n, there=n > 0), made / f"{n}.tif")
    model = _model(tmp_path / "model.safetensors", [image.pixels for image in real[:4]], 72)
    words = ["audit", "-m", str(model), "--images", str(made), "--real", str(images)]
    unknown = CliRunner().invoke(app, [*words, "--measure", "lines"])
    assert isinstance(unknown.exception, UsageError)
    assert "--pixel-size-nm" in str(unknown.exception)
    alone = CliRunner().invoke(app, [*words, "--measure-with", "unit=px"])
    assert isinstance(alone.exception, UsageError)
    idle = CliRunner().invoke(app, [*words, "--pixel-size-nm", "2"])
    assert isinstance(idle.exception, UsageError)
    words += ["--measure", "lines", "--measure-with", "direction=vertical"]
    words += ["--pixel-size-nm", "2", "--embed"]
    words += ["-o", str(tmp_path / "audit.html"), "--json", str(tmp_path / "audit.json")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "5 of 6 synthetic and 8 of 8 real images" in done.output
    page = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert "5 of 6 synthetic and 8 of 8 real images could be measured (lines)" in page
    assert "pitch_nm" in page
    assert "<li>0: " in page  # the image without lines, and why
    assert "Precision (network features)" in page
    assert "Geometric mean of the 5 distances" in page
    record = json.loads((tmp_path / "audit.json").read_text(encoding="utf-8"))
    assert record["parameters"]["measured_with"]["direction"] == "vertical"
    assert record["parameters"]["pixel_size_nm"] == 2
    assert list(record["measured"]["not_measured"]) == ["0"]
    cd = record["measured"]["sizes"]["cd_nm"]
    assert abs(cd["real"]["mean"] - 18) < 0.5
    card = load_model(model, KIND).header.card.model_dump()
    assert card["audit"]["measured"] == record["measured"]
    assert card["audit"]["recall"] == record["recall"]
    assert card["audit"]["geometric_mean_of"][-1] == "network features"
    # What this model, which has learned nothing, draws shows no lines: that is said, too.
    words = ["audit", "-m", str(model), "--real", str(images), "-n", "4", "--steps", "2"]
    drawn = CliRunner().invoke(app, [*words, "--measure", "lines", "--pixel-size-nm", "2"])
    assert drawn.exit_code == 0, drawn.output
    assert "0 of 4 synthetic and 8 of 8 real images" in drawn.output
