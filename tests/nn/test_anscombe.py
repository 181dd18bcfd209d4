"""The Anscombe transform inside of networks."""

import torch

from everhart.nn.anscombe import stabilised


def test_gradients_are_finite_where_the_root_is_cut_off() -> None:
    gain = torch.tensor(0.5, requires_grad=True)
    variance = torch.tensor(0.1, requires_grad=True)
    stabilised(torch.tensor([-50.0, -1.0, 0.0, 3.0]), gain, variance).sum().backward()
    assert gain.grad is not None
    assert variance.grad is not None
    assert torch.isfinite(gain.grad)
    assert torch.isfinite(variance.grad)
