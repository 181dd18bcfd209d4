"""Losses of segmentations, against sums over pixels."""

from __future__ import annotations

import math

import pytest
import torch

from everhart.nn.patchgan import PatchGAN
from everhart.nn.segmentation_losses import (
    IGNORE,
    CrossEntropyLoss,
    DiceLoss,
    FocalLoss,
    SegmentationLoss,
)


@pytest.fixture
def case() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(2, 3, 4, 5, generator=generator)
    target = torch.randint(0, 3, (2, 4, 5), generator=generator)
    target[0, 0, :3] = IGNORE
    return scores, target


def pixels(scores, target):
    for n in range(2):
        for y in range(4):
            for x in range(5):
                if target[n, y, x] != IGNORE:
                    raised = [math.exp(v) for v in scores[n, :, y, x].tolist()]
                    yield [v / sum(raised) for v in raised], int(target[n, y, x])


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_cross_entropy_and_focal(case, gamma):
    weights = [0.5, 1.0, 3.0]
    top = bottom = 0.0
    for p, c in pixels(*case):
        top -= weights[c] * (1 - p[c]) ** gamma * math.log(p[c])
        bottom += weights[c]
    given = torch.tensor(weights)
    assert FocalLoss(given, gamma)(*case).item() == pytest.approx(top / bottom, rel=1e-5)
    if gamma == 0:
        assert CrossEntropyLoss(given)(*case).item() == pytest.approx(top / bottom, rel=1e-5)


def test_dice_takes_the_batch_together_and_leaves_out_classes_that_are_not_there(case):
    scores, target = case
    target = target.where(target != 2, torch.ones(()).long())
    dice = []
    for c in range(2):
        hit = sum(p[c] for p, true in pixels(scores, target) if true == c)
        said = sum(p[c] for p, _ in pixels(scores, target))
        true = sum(1 for _, t in pixels(scores, target) if t == c)
        dice.append(2 * hit / (said + true))
    assert DiceLoss()(scores, target).item() == pytest.approx(1 - sum(dice) / 2, rel=1e-5)


def test_nothing_counts_and_gradients_are_finite(case):
    scores, target = case
    scores.requires_grad_()
    loss = SegmentationLoss({"cross_entropy": 1, "dice": 1, "focal": 0.5})
    total, parts = loss(scores, torch.full_like(target, IGNORE))
    assert total.item() == 0
    assert set(parts) == {"cross_entropy", "dice", "focal"}
    sure = torch.zeros(1, 2, 4, 4).index_fill_(1, torch.tensor([0]), 90.0).requires_grad_()
    loss(sure, torch.zeros(1, 4, 4, dtype=torch.long))[0].backward()
    assert torch.isfinite(sure.grad).all()


def test_one_logit_of_the_patchgan_sees_70_pixels():
    judge = PatchGAN(2, width=4)
    assert judge.receptive_px == 70
    # Instance normalisation ties all pixels together: without it, what depends on what is seen.
    plain = torch.nn.Sequential(
        *(m for m in judge.judge if not isinstance(m, torch.nn.InstanceNorm2d))
    )
    x = torch.randn(1, 2, 160, 160, requires_grad=True)
    out = plain(x)
    out[0, 0, 9, 9].backward()
    seen = x.grad.abs().sum((0, 1)) > 0
    rows = torch.nonzero(seen.any(1))
    assert int(rows.max() - rows.min()) + 1 == 70
