"""A convolution by im2col is the same convolution, and can be differentiated twice."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from facecrafter.nets.im2col import Im2ColConv2d

CASES = [(3, 2, 1, 9), (5, 2, 2, 8), (5, 2, 2, 7), (4, 1, 0, 6)]  # kernel, stride, padding, side


@pytest.mark.parametrize(("kernel", "stride", "padding", "side"), CASES)
def test_it_equals_the_convolution(kernel: int, stride: int, padding: int, side: int) -> None:
    torch.manual_seed(0)
    layer = Im2ColConv2d(3, 4, kernel, stride, padding).double()
    x = torch.randn(2, 3, side, side, dtype=torch.float64)
    torch.testing.assert_close(layer(x), nn.Conv2d.forward(layer, x))


@pytest.mark.parametrize(("kernel", "stride", "padding", "side"), CASES)
def test_gradients_of_both_orders_equal_finite_differences(
    kernel: int, stride: int, padding: int, side: int
) -> None:
    """A gradient penalty descends through the gradient with respect to the image."""
    torch.manual_seed(1)
    layer = Im2ColConv2d(2, 3, kernel, stride, padding).double()
    x = torch.randn(2, 2, side, side, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))
    assert torch.autograd.gradgradcheck(lambda x: layer(x).square(), (x,))


def test_a_large_map_takes_the_usual_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the copies of im2col cost more than they save."""
    called = []
    forward = nn.Conv2d.forward
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, x: called.append(x) or forward(self, x))
    layer = Im2ColConv2d(3, 4, 5, 2, 2)
    layer(torch.randn(1, 3, 16, 16))
    assert not called, "8 x 8 positions are few"
    layer(torch.randn(1, 3, 32, 32))
    assert called


def test_under_autocast_it_multiplies_in_bfloat16() -> None:
    layer = Im2ColConv2d(3, 4, 5, 2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(1, 3, 8, 8)).dtype == torch.bfloat16
