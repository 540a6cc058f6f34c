"""Ranks that share a batch: the random numbers of each are rows of those that one process draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from facecrafter import ranks
from facecrafter.nets.augmentation import blur_and_noise, change_colours, flip_and_shift
from facecrafter.nets.shared import share_layers, unshare_layers

WHOLE, PART, RANKS = 12, 4, 3
LAST = torch.channels_last

DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "rand": lambda x: ranks.rand(len(x), 2),
    "randn": lambda x: ranks.randn(len(x), 5),
    "second dimension": lambda x: ranks.randn(2, len(x), 3, dim=1).transpose(0, 1),
    "randint": lambda x: ranks.randint(9, len(x)),
    "randn_like": ranks.randn_like,
    "randn_like, channels last": lambda x: ranks.randn_like(x.contiguous(memory_format=LAST)),
    "flip_and_shift": lambda x: flip_and_shift(x, 0.1, 0.1),
    "change_colours": lambda x: change_colours(x, 0.2),
    "blur_and_noise": blur_and_noise,
    "dropout": lambda x: shared(nn.Dropout(0.5))(x),
    "dropout, channels last": lambda x: shared(nn.Dropout(0.5))(x.contiguous(memory_format=LAST)),
    "dropout of channels": lambda x: shared(nn.Dropout2d(0.5))(x),
}


def shared(layer: nn.Module) -> nn.Module:
    share_layers(layer)
    return layer


@pytest.fixture(autouse=True)
def alone_again() -> Iterator[None]:
    yield
    ranks.work_as(ranks.WHOLE)


@pytest.mark.parametrize("name", DRAWS)
def test_each_rank_has_its_rows_of_what_one_draws(name: str) -> None:
    """Else two devices would vary their images in the same way, or train another network than one."""
    images = torch.rand(WHOLE, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(0)
    alone, after = DRAWS[name](images), torch.rand(())
    for rank, part in enumerate(images.split(PART)):
        ranks.work_as(ranks.Share(rank, RANKS))
        torch.manual_seed(0)
        assert torch.equal(DRAWS[name](part), alone.split(PART)[rank])
        assert torch.equal(torch.rand(()), after), "the ranks' random generators have come apart"


def test_layers_are_what_they_were_afterwards() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout2d(), nn.Linear(2, 2))
    kinds, state = [type(layer) for layer in network], network.state_dict()
    share_layers(network)
    assert isinstance(network[0], nn.BatchNorm2d)
    assert network.state_dict().keys() == state.keys()
    unshare_layers(network)
    assert [type(layer) for layer in network] == kinds


def test_a_layer_that_cannot_be_shared_is_named() -> None:
    """It would see a part of the batch, and the weights would depend on the number of devices."""
    with pytest.raises(ValueError, match=r"0, a AlphaDropout, .* set devices to 1"):
        share_layers(nn.Sequential(nn.AlphaDropout()))
