from __future__ import annotations

from collections import Counter

import pytest
import torch
from small_networks import seeded
from torch import Tensor, nn

from facecrafter.attacks import Progressive, WhiteBox
from facecrafter.attacks.progressive import into_ball


def toy() -> tuple[nn.Sequential, nn.Sequential]:
    """A prior of three latents and two transposed convolutions, and an encoder that forgets nothing."""
    torch.manual_seed(0)
    prior = nn.Sequential(
        nn.Linear(3, 32),
        nn.Unflatten(1, (8, 2, 2)),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.ConvTranspose2d(8, 6, 2, stride=2),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 3, 2, stride=2),
        nn.Sigmoid(),
    ).double()
    encoder = nn.Sequential(nn.Conv2d(3, 12, 2, stride=2)).double()
    nn.init.orthogonal_(encoder[0].weight)
    return encoder, prior.eval()


def attack(rungs: tuple[int, ...], radius: float = 0.5, **options) -> Progressive:
    numbers = {"iterations": 20, "restarts": 2, "learning_rate": 0.02} | options
    return Progressive(*toy(), rungs=rungs, radius=radius, precision="32", **numbers)


def beyond_the_prior(count: int = 3) -> tuple[Tensor, Tensor]:
    """Images whose first activation is no latent's, but near one's; and their features."""
    encoder, prior = toy()
    with torch.no_grad():
        activations = prior[:4](torch.randn(count, 3, generator=seeded(1), dtype=torch.float64))
        noise = torch.randn(activations.shape, generator=seeded(2), dtype=torch.float64)
        images = prior[4:](activations + 0.1 * noise)
        return images, encoder(images)


def test_a_face_that_no_latent_makes_is_found_in_the_activations() -> None:
    images, features = beyond_the_prior()
    encoder, prior = toy()
    latent = WhiteBox(encoder, prior, 20, 2, precision="32").reconstruct(features, seeded())
    found = attack((300,), learning_rate=0.01).reconstruct(features, seeded())
    assert found.images.shape == (3, 2, 3, 8, 8)
    assert (found.losses.min(dim=1).values < latent.losses.min(dim=1).values / 100).all()
    before, after = ((result.best() - images).square().mean() for result in (latent, found))
    assert after < before / 20


def test_a_known_latent_is_kept() -> None:
    """Where the search ends in a minimum, no rung may lead away from it."""
    encoder, prior = toy()
    images = prior(torch.randn(2, 3, generator=seeded(5), dtype=torch.float64)).detach()
    result = attack((20, 20), iterations=60, restarts=4).reconstruct(encoder(images).detach(), seeded())
    torch.testing.assert_close(result.best(), images.float(), atol=1e-3, rtol=0)


def test_no_rung_raises_the_loss() -> None:
    _, features = beyond_the_prior()
    losses = [attack(rungs).reconstruct(features, seeded()).losses for rungs in ((1,), (40,), (40, 40))]
    assert (losses[1] <= losses[0]).all()
    assert (losses[2] <= losses[1]).all()


def test_the_loss_is_that_of_the_images_returned() -> None:
    encoder, _ = toy()
    _, features = beyond_the_prior()
    result = attack((10, 10)).reconstruct(features, seeded())
    for restart in range(2):
        again = (encoder(result.images[:, restart].double()) - features).square().flatten(1).sum(dim=1)
        torch.testing.assert_close(result.losses[:, restart].double(), again, rtol=1e-4, atol=1e-8)


def test_the_ball_is_exact() -> None:
    centre = torch.randn(4, 5, 2, 2, generator=seeded(), dtype=torch.float64)
    point = centre + torch.randn(centre.shape, generator=seeded(1), dtype=torch.float64)
    inside = into_ball(point, centre, 0.1)
    shift, allowed = (inside - centre).flatten(1), 0.1 * centre.flatten(1).norm(dim=1)
    torch.testing.assert_close(shift.norm(dim=1), allowed)
    cosine = nn.functional.cosine_similarity(shift, (point - centre).flatten(1))
    torch.testing.assert_close(cosine, torch.ones(4).double())
    near = centre + 1e-3 * (point - centre)
    torch.testing.assert_close(into_ball(near, centre, 0.1), near)
    assert torch.equal(into_ball(centre, centre, 0.1), centre)


def test_activations_stay_in_the_ball_around_what_the_latent_makes() -> None:
    """A feature far from every face pulls as hard as it may."""
    features = 50 * torch.randn(2, 12, 4, 4, generator=seeded(), dtype=torch.float64)
    search = attack((30,), radius=0.05, restarts=1, learning_rate=0.5)
    seen: list[Tensor] = []
    search.blocks[1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    search.reconstruct(features, seeded())
    activations = [maps for maps in seen if len(maps) == 2]
    centre = activations[0]
    reach = torch.stack([(maps - centre).flatten(1).norm(dim=1) for maps in activations]).max()
    assert reach > 0.9 * 0.05 * centre.flatten(1).norm(dim=1).min()
    for maps in activations:
        assert ((maps - centre).flatten(1).norm(dim=1) <= 0.0501 * centre.flatten(1).norm(dim=1)).all()


def test_an_image_alone_gives_what_it_gives_in_a_batch() -> None:
    _, features = beyond_the_prior()
    rows = torch.tensor([9, 4, 7])
    together = attack((10, 5)).reconstruct(features, seeded(), rows=rows)
    alone = attack((10, 5)).reconstruct(features[1:2], seeded(), rows=rows[1:2])
    torch.testing.assert_close(together.images[1:2], alone.images, atol=1e-5, rtol=0)


def test_budgets_are_honoured_and_reported() -> None:
    search = attack((4, 2), iterations=3, restarts=1)
    calls: Counter[int] = Counter()
    for number, block in enumerate(search.blocks):
        block.register_forward_hook(lambda *_, number=number: calls.update([number]))
    seen: list[tuple[int, int]] = []
    search.reconstruct(beyond_the_prior()[1], seeded(), lambda done, total: seen.append((done, total)))
    assert seen == [(step, 9) for step in range(1, 10)]
    # Block 1 carries the first rung's steps, and once makes the second rung's centre; block 2 both rungs'.
    assert (calls[1], calls[2]) == ((4 + 1) + 1, (4 + 1) + (2 + 1) + 1)


def test_priors_without_blocks_and_rungs_without_a_block_are_refused() -> None:
    encoder, _ = toy()
    flat = nn.Sequential(nn.Linear(3, 192), nn.Unflatten(1, (3, 8, 8))).double()
    with pytest.raises(ValueError, match="no chain of layers with transposed convolutions"):
        Progressive(encoder, flat)
    for rungs in ((), (1, 1, 1)):
        with pytest.raises(ValueError, match="must name 1 to 2 budgets"):
            attack(rungs)


def test_features_of_another_shape_are_refused_naming_both() -> None:
    with pytest.raises(ValueError, match=r"\(7, 4, 4\).*\(12, 4, 4\)"):
        attack((1,)).reconstruct(torch.zeros(1, 7, 4, 4).double(), seeded())


@pytest.mark.parametrize("numbers", [{"iterations": 0}, {"restarts": 0}, {"radius": 0.0}])
def test_numbers_without_meaning_are_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        attack((1,), **numbers)
