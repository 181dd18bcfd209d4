"""Transfer: a generator that goes on with the images of another process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from everhart import UsageError, write
from everhart.nn.diffusion_unet import Condition, DiffusionUNet, DiffusionUNetConfig
from everhart.synthesize.generator import Generator
from everhart.synthesize.train import train
from everhart.synthesize.transfer import freeze, parts_of, take_weights


def _config(place: Path, name: str, **more: Any) -> Path:
    config = {
        "task": "diffusion",
        "data": {"folder": str(place / name)},
        "network": {"widths": [8, 16], "groups": 4},
        "optimiser": {
            "steps": 30, "batch_size": 4, "learning_rate": 2e-3, "steps_per_epoch": 10,
            "ema_decay": 0.9, "threads": 1, "precision": "fp32", "weight_decay": 0.1,
        },
        **more,
    }  # fmt: skip
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transfer")
    rng = np.random.default_rng(0)
    for name, level in (("a", 90), ("b", 160)):
        (folder / name).mkdir()
        for n in range(3):
            image = rng.normal(level, 20, (16, 16)).round().clip(0, 255).astype(np.uint8)
            write(image, folder / name / f"{n}.tif")
    train(_config(folder, "a"), folder / "run_a")
    return folder


FROZEN = ["time", "first", "down", "up.0.0"]


def _weights(model: Path) -> dict[str, torch.Tensor]:
    return Generator.load(model).network.state_dict()


def test_what_is_frozen_stays_and_the_rest_learns(place: Path) -> None:
    start = place / "run_a" / "model.safetensors"
    config = _config(place, "b", start_from=str(start), freeze=FROZEN)
    model = train(config, place / "run_b")
    before, after = _weights(start), _weights(model)
    still = ("time.", "first.", "down.", "up.1.blocks.0.")  # up.0.0 is the last but one
    for name, weight in before.items():
        same = torch.equal(weight, after[name])
        assert same == name.startswith(still), name
    card = Generator.load(model).header.card.model_dump()
    assert card["started_from_sha256"] == Generator.load(start).sha256
    assert card["frozen"] == [
        "time", "first", "down.0.0", "down.0.reduce", "down.1.0", "up.0.0",
    ]  # fmt: skip


def test_a_resumed_transfer_is_the_same(place: Path) -> None:
    from everhart.synthesize.task import DiffusionTask

    start = place / "run_a" / "model.safetensors"
    config = _config(place, "b", start_from=str(start), freeze=FROZEN)
    whole = _weights(train(config, place / "at_once"))
    losses, count = DiffusionTask.losses, 0

    def stops(self: DiffusionTask, batch: Any) -> Any:
        nonlocal count
        count += 1
        if count > 15:
            raise KeyboardInterrupt
        return losses(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DiffusionTask, "losses", stops)
        with pytest.raises(KeyboardInterrupt):
            train(config, place / "stopped")
    for name, weight in _weights(train(config, place / "stopped", resume=True)).items():
        assert torch.equal(weight, whole[name]), name


def test_a_mask_beside_the_image_does_nothing_at_first(place: Path) -> None:
    start = Generator.load(place / "run_a" / "model.safetensors").network
    torch.manual_seed(1)
    with_mask = DiffusionUNet(start.config.model_copy(update={"mask_classes": 2})).eval()
    take_weights(with_mask, place / "run_a" / "model.safetensors")
    x, t = torch.randn(2, 1, 16, 16), torch.tensor([5, 500])
    position, mask = torch.randn(2, 3, 16, 16), torch.ones(2, 2, 16, 16)
    with torch.no_grad():
        wanted = start(x, t, Condition(position=position))
        found = with_mask(x, t, Condition(position=position, mask=mask))
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)


def test_parts_are_all_of_the_network() -> None:
    network = DiffusionUNet(DiffusionUNetConfig(widths=(8, 16, 16), classes=2, augmentation=3))
    in_parts = [id(p) for part in parts_of(network).values() for p in part.parameters()]
    assert sorted(in_parts) == sorted(id(p) for p in network.parameters())
    assert set(network.block_names) <= set(parts_of(network))
    assert freeze(network, ["up.*.0", "middle"]) == [
        "up.2.0", "up.1.0", "up.0.0", "middle.0", "middle.1",
    ]  # fmt: skip


def test_wrong_calls_are_refused(place: Path) -> None:
    start = str(place / "run_a" / "model.safetensors")
    network = DiffusionUNet(DiffusionUNetConfig(widths=(8, 16), position=True))
    with pytest.raises(UsageError, match=r"down\.0\.0"):
        freeze(network, ["dawn.0.0"])
    with pytest.raises(UsageError, match="nothing to learn"):
        freeze(network, ["*"])
    with pytest.raises(UsageError, match="start_from, too"):
        train(_config(place, "b", freeze=["down"]), place / "wrong")
    wider = {"widths": [16, 16], "groups": 4}
    with pytest.raises(UsageError, match="same widths"):
        train(_config(place, "b", start_from=start, network=wider), place / "wrong")
    assert not (place / "wrong").exists()
