"""What the efficiency bench counts: a wrong number of FLOPs makes every fraction of the peak wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from experiments.bench.work import Product, Work

LAYERS = {
    "linear": (lambda: nn.Linear(5, 7), (3, 5)),
    "linear without bias": (lambda: nn.Linear(5, 7, bias=False), (3, 5)),
    "strided conv": (lambda: nn.Conv2d(4, 6, 5, 2, 2), (2, 4, 8, 10)),
    "transposed conv": (lambda: nn.ConvTranspose2d(4, 6, 5, 2, 2, 1), (2, 4, 5, 6)),
}


def counted(action: Callable[[], object]) -> Work:
    with Work() as work:
        action()
    return work


@pytest.mark.strict
@pytest.mark.parametrize("name", LAYERS)
def test_flops_of_forward_and_backward_are_those_of_torchs_own_counter(name: str) -> None:
    make, shape = LAYERS[name]
    layer, x = make(), torch.randn(shape, requires_grad=True)

    def both() -> None:
        layer(x).sum().backward()

    with FlopCounterMode(display=False) as oracle:
        both()
    assert counted(both).flops == oracle.get_total_flops() > 0


@pytest.mark.strict
@pytest.mark.parametrize("layer", [nn.Conv2d(4, 6, 3, groups=2), nn.ConvTranspose2d(4, 6, 3, groups=2)])
def test_groups_share_the_products(layer: nn.Module) -> None:
    """Against torch's counter forward, and three times that with both gradients, where that counter errs."""
    x = torch.randn(2, 4, 5, 5, requires_grad=True)
    with FlopCounterMode(display=False) as oracle:
        layer(x)
    assert counted(lambda: layer(x)).flops == oracle.get_total_flops()
    assert counted(lambda: layer(x).sum().backward()).flops == 3 * oracle.get_total_flops()


@pytest.mark.strict
def test_batched_products_are_counted() -> None:
    a, b = torch.randn(3, 2, 5), torch.randn(3, 5, 7)
    work = counted(lambda: a @ b)
    assert dict(work.products) == {Product(3, 2, 5, 7): 1}
    assert work.flops == 2 * 3 * 2 * 5 * 7


@pytest.mark.strict
def test_a_gradient_penalty_on_a_convolution_is_six_forward_passes() -> None:
    """Forward and slope; then the slope's gradients for weight and direction, the forward's for weight and
    input. A convolution is linear, so its slope does not depend on the input."""
    layer, x = nn.Conv2d(4, 6, 3), torch.randn(2, 4, 8, 8, requires_grad=True)
    direction = torch.randn(2, 6, 6, 6, requires_grad=True)

    def penalise() -> None:
        y = layer(x)
        (slope,) = torch.autograd.grad(y, x, direction, create_graph=True)
        torch.autograd.grad(y.sum() + slope.square().sum(), [x, direction, *layer.parameters()])

    assert counted(penalise).flops == 6 * counted(lambda: layer(x)).flops


def test_bytes_are_those_of_operands_and_result_and_views_are_free() -> None:
    a, b = torch.randn(4, 6), torch.randn(6, 5)
    assert counted(lambda: a @ b).bytes == 4 * (24 + 30 + 20)
    assert counted(lambda: a.T.reshape(4, 6).view(2, 12)[:, :3]).bytes == 4 * (24 + 24), "reshape copies here"
    assert counted(lambda: a.view(24)[2:].expand(3, 22)).bytes == 0


def test_an_expanded_operand_is_read_from_the_memory_that_it_has() -> None:
    row = torch.randn(1, 5).expand(100, 5)
    assert counted(lambda: row.exp()).bytes == 4 * (5 + 500)
