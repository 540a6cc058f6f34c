from __future__ import annotations

import pytest
import torch
from small_networks import seeded
from torch import Tensor, nn

from facecrafter.attacks import Reconstruction, WhiteBox, random_latents

PIXELS = 3 * 4 * 4


def toy(latent_dim: int = 6) -> tuple[nn.Sequential, nn.Sequential]:
    """A linear encoder and a linear prior of full rank in float64: one minimum, whatever the start."""
    torch.manual_seed(0)
    prior = nn.Sequential(nn.Linear(latent_dim, PIXELS), nn.Unflatten(1, (3, 4, 4))).double()
    encoder = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1)).double()
    return encoder, prior


def attack(iterations: int, restarts: int = 1) -> WhiteBox:
    """An attack on the toy, in the toy's own precision."""
    return WhiteBox(*toy(), iterations, restarts, precision="32")


def test_the_latent_of_an_invertible_toy_is_recovered() -> None:
    encoder, prior = toy()
    images = prior(torch.randn(4, 6, generator=seeded(), dtype=torch.float64)).detach()
    result = attack(40, 2).reconstruct(encoder(images), seeded())
    assert result.images.shape == (4, 2, 3, 4, 4)
    assert result.images.dtype == result.losses.dtype == torch.float32
    expected = images[:, None].expand(-1, 2, -1, -1, -1).float()
    torch.testing.assert_close(result.images, expected, atol=1e-4, rtol=0)
    assert (result.losses < 1e-6).all()


def test_the_loss_is_that_of_eq_3_at_the_images_returned() -> None:
    encoder, _ = toy()
    features = torch.randn(3, 5, 4, 4, generator=seeded(), dtype=torch.float64)
    result = attack(20, 2).reconstruct(features, seeded())
    for image, losses in enumerate(result.losses):
        for restart, loss in enumerate(losses):
            again = (encoder(result.images[image, restart].double()[None]) - features[image]).square().sum()
            assert loss.item() == pytest.approx(again.item(), rel=1e-5)


def test_an_image_alone_gives_what_it_gives_in_a_batch() -> None:
    features = torch.randn(5, 5, 4, 4, generator=seeded(), dtype=torch.float64)
    rows = torch.tensor([40, 7, 19, 3, 1000])
    together = attack(30, 2).reconstruct(features, seeded(), rows=rows)
    order = torch.tensor([3, 0, 4])
    apart = attack(30, 2).reconstruct(features[order], seeded(), rows=rows[order])
    torch.testing.assert_close(apart.images, together.images[order], atol=1e-6, rtol=0)
    torch.testing.assert_close(apart.losses, together.losses[order])


def test_more_restarts_keep_the_first_ones() -> None:
    features = torch.randn(2, 5, 4, 4, generator=seeded(), dtype=torch.float64)
    few = attack(5, 1).reconstruct(features, seeded())
    many = attack(5, 3).reconstruct(features, seeded())
    torch.testing.assert_close(few.images[:, 0], many.images[:, 0])


def test_starts_differ_between_seeds_rows_and_restarts() -> None:
    starts = torch.cat([random_latents(torch.tensor([0, 1]), 2, 50, seed).flatten(0, 1) for seed in (0, 1)])
    correlation = torch.corrcoef(starts) - torch.eye(8, dtype=torch.float64)
    assert correlation.abs().max() < 0.6


def test_starts_are_standard_normal() -> None:
    starts = random_latents(torch.arange(200), 5, 100, seed=0)
    assert starts.mean().abs() < 0.02
    assert (starts.std() - 1).abs() < 0.02


def test_the_best_latent_of_the_path_is_kept() -> None:
    """From a minimum every step leads away: the start is then what the attacker shows."""
    encoder, prior = toy()
    z = random_latents(torch.arange(1), 1, 6, seed=0)[0]
    features = encoder(prior(z)).detach()
    result = attack(3, 1).reconstruct(features, seeded())
    assert result.losses.item() < 1e-12


def test_best_is_the_restart_of_lowest_loss() -> None:
    images = torch.arange(6.0).reshape(2, 3, 1, 1, 1).expand(-1, -1, 3, 2, 2)
    best = Reconstruction(images, torch.tensor([[3.0, 1.0, 2.0], [1.0, 5.0, 0.5]])).best()
    assert best[:, 0, 0, 0].tolist() == [1.0, 5.0]


def test_reduced_precision_finds_what_full_precision_finds() -> None:
    encoder, prior = (network.float() for network in toy())
    features = encoder(prior(torch.randn(3, 6, generator=seeded()))).detach()
    losses = [
        WhiteBox(encoder, prior, 40, 1, precision=precision).reconstruct(features, seeded()).losses
        for precision in ("32", "bf16")
    ]
    scale = features.square().flatten(1).sum(dim=1)
    assert (losses[0][:, 0] / scale < 1e-4).all()
    assert (losses[1][:, 0] / scale < 1e-3).all()


def test_progress_counts_every_step() -> None:
    seen: list[tuple[int, int]] = []
    attack(3, 2).reconstruct(
        torch.zeros(1, 5, 4, 4).double(), seeded(), progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_the_networks_are_left_as_they_were() -> None:
    encoder, prior = toy()
    encoder.train()
    WhiteBox(encoder, prior, iterations=1).reconstruct(torch.zeros(1, 5, 4, 4).double(), seeded())
    assert encoder.training
    assert all(weight.requires_grad for weight in encoder.parameters())


def test_features_of_another_shape_are_refused_naming_both() -> None:
    with pytest.raises(ValueError, match=r"\(7, 4, 4\).*\(5, 4, 4\)"):
        attack(1).reconstruct(torch.zeros(1, 7, 4, 4).double(), seeded())


@pytest.mark.parametrize("numbers", [{"iterations": 0}, {"restarts": 0}])
def test_no_iterations_or_restarts_are_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        WhiteBox(*toy(), **numbers)


def test_a_prior_without_a_latent_is_refused() -> None:
    class Constant(nn.Module):
        def forward(self, latents: Tensor) -> Tensor:
            return latents

    with pytest.raises(ValueError, match="Constant has no linear layer"):
        WhiteBox(toy()[0], Constant())
