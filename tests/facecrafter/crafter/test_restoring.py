"""A released feature from which the head reads what it should, to the last digit."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor, nn

from facecrafter.crafter.restoring import by_newton, restored
from facecrafter.nets.target import resnet18


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def head() -> nn.Module:
    torch.manual_seed(0)
    return resnet18(20).head.eval().double()


def test_of_a_linear_head_it_is_the_shortest_change() -> None:
    """Closed form: δ is the least-norm solution of A(S + δ) = wanted."""
    a, start, wanted = drawn(0, 5, 48), drawn(1, 3, 3, 4, 4), drawn(2, 3, 5)
    found = by_newton(lambda features: features.flatten(1) @ a.T, wanted, start)
    delta = (wanted - start.flatten(1) @ a.T) @ torch.linalg.pinv(a).T
    torch.testing.assert_close((found - start).flatten(1), delta, rtol=1e-3, atol=1e-3)


def test_of_resnets_head_nothing_is_left_where_adam_leaves_a_twentieth(head: nn.Module) -> None:
    """Else the cloud would read something else than was crafted."""
    face, stranger = drawn(3, 4, 64, 8, 8), drawn(4, 4, 64, 8, 8)
    with torch.no_grad():
        wanted, before = head(face), head(stranger)
    found = restored(head, wanted, stranger, 1, 0.05)
    assert (head(found) - wanted).norm() < 1e-3 * (before - wanted).norm()


def test_an_image_is_restored_alike_in_any_batch(head: nn.Module) -> None:
    face, stranger = drawn(3, 4, 64, 8, 8), drawn(4, 4, 64, 8, 8)
    with torch.no_grad():
        wanted = head(face)
    together = by_newton(head, wanted, stranger)
    torch.testing.assert_close(together[1:2], by_newton(head, wanted[1:2], stranger[1:2]))


def test_it_warns_where_the_head_cannot_be_brought_there() -> None:
    """A head that makes no negative number is asked for one."""
    start = drawn(5, 2, 3, 4, 4)

    def positive(features: Tensor) -> Tensor:
        return features.flatten(1)[:, :2].exp()

    with pytest.warns(UserWarning, match="of 1 of 2 features"):
        restored(positive, torch.tensor([[-5.0, -5.0], [1.0, 2.0]]).double(), start, 1, 0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        restored(positive, torch.tensor([[3.0, 5.0], [1.0, 2.0]]).double(), start, 1, 0.05)
