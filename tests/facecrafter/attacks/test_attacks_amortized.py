from __future__ import annotations

import pytest
import torch
from small_networks import seeded
from torch import Tensor, nn

from facecrafter.attacks import AmortizedWhiteBox, WhiteBox

PIXELS = 3 * 4 * 4


def toy() -> tuple[nn.Sequential, nn.Sequential]:
    """A linear encoder and a linear prior of full rank in float64: one minimum, whatever the start."""
    torch.manual_seed(0)
    prior = nn.Sequential(nn.Linear(6, PIXELS), nn.Unflatten(1, (3, 4, 4))).double()
    encoder = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1)).double()
    return encoder, prior


class Exact(nn.Module):
    """The least-squares inverse of the toy: an amortizer that makes no error."""

    def __init__(self, encoder: nn.Module, prior: nn.Module) -> None:
        super().__init__()
        with torch.no_grad():
            self.origin = encoder(prior(torch.zeros(1, 6).double())).flatten(1)
            columns = encoder(prior(torch.eye(6).double())).flatten(1) - self.origin
            self.inverse = torch.linalg.pinv(columns)

    def forward(self, features: Tensor) -> Tensor:
        latents: Tensor = (features.flatten(1) - self.origin) @ self.inverse
        return latents


def attack(amortizer: nn.Module, iterations: int, restarts: int = 1) -> AmortizedWhiteBox:
    return AmortizedWhiteBox(*toy(), amortizer, iterations, restarts, precision="32")


def guess() -> nn.Sequential:
    torch.manual_seed(7)
    return nn.Sequential(nn.Flatten(), nn.Linear(80, 6)).double()


def test_a_perfect_guess_needs_no_step() -> None:
    encoder, prior = toy()
    images = prior(torch.randn(3, 6, generator=seeded(), dtype=torch.float64)).detach()
    result = attack(Exact(encoder, prior), 1).reconstruct(encoder(images), seeded())
    torch.testing.assert_close(result.best(), images.float(), atol=1e-5, rtol=0)
    assert (result.losses < 1e-10).all()


def test_a_poor_guess_is_improved_to_the_known_latent() -> None:
    encoder, prior = toy()
    images = prior(torch.randn(3, 6, generator=seeded(), dtype=torch.float64)).detach()
    result = attack(guess(), 40).reconstruct(encoder(images), seeded())
    torch.testing.assert_close(result.best(), images.float(), atol=1e-4, rtol=0)


def test_the_first_restart_is_the_guess_and_the_others_are_those_of_the_white_box() -> None:
    encoder, prior = toy()
    features = torch.randn(2, 5, 4, 4, generator=seeded(), dtype=torch.float64)
    rows = torch.tensor([8, 3])
    amortizer = guess()
    found = attack(amortizer, 1, 3).reconstruct(features, seeded(4), rows=rows)
    plain = WhiteBox(encoder, prior, 1, 3, precision="32").reconstruct(features, seeded(4), rows=rows)
    torch.testing.assert_close(found.images[:, 0], prior(amortizer(features)).detach().float())
    torch.testing.assert_close(found.images[:, 1:], plain.images[:, 1:])


def test_an_image_alone_gives_what_it_gives_in_a_batch() -> None:
    """Batch norms in the amortizer must run on their stored statistics."""
    amortizer = nn.Sequential(nn.Conv2d(5, 5, 1), nn.BatchNorm2d(5), nn.Flatten(), nn.Linear(80, 6)).double()
    features = torch.randn(4, 5, 4, 4, generator=seeded(), dtype=torch.float64)
    rows = torch.arange(4)
    search = attack(amortizer.train(), 10, 2)
    together = search.reconstruct(features, seeded(), rows=rows)
    alone = search.reconstruct(features[2:3], seeded(), rows=rows[2:3])
    torch.testing.assert_close(together.images[2:3], alone.images, atol=1e-6, rtol=0)


def test_the_budget_is_honoured_and_reported() -> None:
    search = attack(guess(), 4)
    seen: list[tuple[int, int]] = []
    search.reconstruct(
        torch.zeros(1, 5, 4, 4).double(), seeded(), lambda done, total: seen.append((done, total))
    )
    assert seen == [(step, 4) for step in range(1, 5)]


def test_features_of_another_shape_are_refused_before_the_amortizer_is_asked() -> None:
    with pytest.raises(ValueError, match=r"\(7, 4, 4\).*\(5, 4, 4\)"):
        attack(guess(), 1).reconstruct(torch.zeros(1, 7, 4, 4).double(), seeded())


def test_the_amortizer_of_another_prior_is_refused() -> None:
    other = nn.Sequential(nn.Flatten(), nn.Linear(80, 9)).double()
    with pytest.raises(ValueError, match=r"\(9,\) numbers, but the prior takes 6"):
        attack(other, 1).reconstruct(torch.zeros(1, 5, 4, 4).double(), seeded())


@pytest.mark.parametrize("numbers", [{"iterations": 0}, {"restarts": 0}])
def test_no_iterations_or_restarts_are_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        AmortizedWhiteBox(*toy(), guess(), **numbers)
