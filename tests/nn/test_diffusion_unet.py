"""The U-Net of the diffusion models: against diffusers, its inputs, its features."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from everhart.errors import UsageError
from everhart.nn.diffusion_unet import Condition, DiffusionUNet, DiffusionUNetConfig
from everhart.synthesize.diffusers_format import from_diffusers, to_diffusers

CONFIGS = [
    {"widths": (16, 32), "blocks": 1},
    {"widths": (8, 16, 24), "blocks": 2, "attention": (False, True, True), "head_width": 8},
    {"widths": (16, 16, 16), "blocks": 1, "classes": 3, "image_channels": 2},
]


def _at_random(config: DiffusionUNetConfig) -> DiffusionUNet:
    """A network whose last layer says something, unlike that of a new one."""
    torch.manual_seed(0)
    net = DiffusionUNet(config)
    torch.nn.init.normal_(net.last.weight, std=0.1)
    return net.eval()


@pytest.mark.parametrize("settings", CONFIGS)
def test_the_network_is_that_of_diffusers(settings: Any) -> None:
    diffusers = pytest.importorskip("diffusers")
    net = _at_random(DiffusionUNetConfig(**settings))
    config, weights = to_diffusers(net.config, net.state_dict())
    theirs = diffusers.UNet2DModel(**config).eval()
    theirs.load_state_dict(weights)
    x, t = torch.randn(2, net.config.image_channels, 32, 48), torch.tensor([3, 970])
    label = torch.tensor([1, 2]) if net.config.classes else None
    with torch.no_grad():
        wanted = theirs(x, t, class_labels=label).sample
        found = net(x, t, Condition(label=label))
    assert float(wanted.std()) > 0.05
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    back_config, back = from_diffusers(dict(theirs.config), theirs.state_dict())
    head = config["attention_head_dim"]
    filled_in = {"attention": net.config.attends, "head_width": head}
    assert back_config == net.config.model_copy(update=filled_in)
    again = DiffusionUNet(back_config)
    again.load_state_dict(back)
    with torch.no_grad():
        torch.testing.assert_close(again(x, t, Condition(label=label)), found)


def test_a_foreign_network_is_refused() -> None:
    diffusers = pytest.importorskip("diffusers")
    config, _ = to_diffusers(DiffusionUNetConfig(widths=(8, 8)), {})
    config["resnet_time_scale_shift"] = "scale_shift"
    theirs = diffusers.UNet2DModel(**config)
    with pytest.raises(UsageError, match="scale_shift"):
        from_diffusers(dict(theirs.config), theirs.state_dict())
    with pytest.raises(UsageError, match="one width"):
        to_diffusers(DiffusionUNetConfig(widths=(8, 64), attention=(True, True)), {})
    with pytest.raises(UsageError, match="position"):
        to_diffusers(DiffusionUNetConfig(position=True), {})


@pytest.mark.parametrize("stem", [1, 2])
@pytest.mark.parametrize("size", [(32, 32), (33, 50), (17, 8)])
def test_any_size_is_taken(size: tuple[int, int], stem: int) -> None:
    net = _at_random(DiffusionUNetConfig(widths=(8, 16, 16), stem=stem))
    with torch.no_grad():
        assert net(torch.randn(2, 1, *size), torch.tensor([0, 9])).shape == (2, 1, *size)


def test_every_condition_changes_what_is_said() -> None:
    net = _at_random(
        DiffusionUNetConfig(
            widths=(8, 16), classes=2, mask_classes=3, position=True, augmentation=4
        )
    )
    x, t = torch.randn(1, 1, 16, 16), torch.tensor([400])
    given = Condition(
        label=torch.tensor([1]),
        position=torch.randn(1, 3, 16, 16),
        mask=torch.rand(1, 3, 16, 16),
        augmentation=torch.randn(1, 4),
    )
    with torch.no_grad():
        plain, whole = net(x, t), net(x, t, given)
        for part in ("label", "position", "mask", "augmentation"):
            alone = net(x, t, Condition(**{part: getattr(given, part)}))
            assert not torch.allclose(alone, plain)
        # No label is the class after the last one, and zeros say nothing of the augmentation.
        open_ = Condition(label=torch.tensor([2]), augmentation=torch.zeros(1, 4))
        assert torch.equal(net(x, t, open_), plain)
        assert not torch.allclose(net(x, t, replace(given, label=None)), whole)


def test_conditions_that_do_not_fit_are_refused() -> None:
    x, t = torch.randn(1, 1, 16, 16), torch.tensor([400])
    net = DiffusionUNet(DiffusionUNetConfig(widths=(8,), mask_classes=3))
    with pytest.raises(UsageError, match="mask of shape"):
        net(x, t, Condition(mask=torch.rand(1, 2, 16, 16)))
    with pytest.raises(UsageError, match="position"):
        net(x, t, Condition(position=torch.rand(1, 3, 16, 16)))
    with pytest.raises(UsageError, match="label"):
        net(x, t, Condition(label=torch.tensor([0])))


def test_features_come_from_the_blocks_that_are_named() -> None:
    net = _at_random(DiffusionUNetConfig(widths=(8, 16, 24), blocks=2))
    x, t = torch.randn(2, 1, 32, 32), torch.tensor([10, 10])
    with torch.no_grad():
        found = net.features(x, t, net.block_names)
        before = net(x, t)
    assert tuple(found) == net.block_names
    assert found["down.0.1"].shape == (2, 8, 32, 32)
    assert found["down.2.0"].shape == found["middle.1"].shape == (2, 24, 8, 8)
    assert found["up.2.0"].shape == (2, 24, 8, 8)
    assert found["up.0.2"].shape == (2, 8, 32, 32)
    with torch.no_grad():
        assert torch.equal(net(x, t), before)
    with pytest.raises(UsageError, match="middle"):
        net.features(x, t, ["midle.0"])
