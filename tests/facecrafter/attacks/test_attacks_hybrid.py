from __future__ import annotations

import numpy as np
import pytest
import torch
from small_networks import seeded
from torch import Tensor, nn

from facecrafter.attacks import BlackBox, Hybrid
from facecrafter.attacks.hybrid import total_variation


def toy() -> tuple[nn.Sequential, nn.Sequential]:
    """An invertible linear encoder (48 numbers to 48) and a decoder that knows nothing, in float64."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Conv2d(3, 12, 2, stride=2)).double()
    nn.init.orthogonal_(encoder[0].weight)
    decoder = nn.Sequential(nn.ConvTranspose2d(12, 3, 2, stride=2), nn.Sigmoid()).double()
    return encoder, decoder


def images(count: int = 3) -> Tensor:
    return 0.1 + 0.8 * torch.rand(count, 3, 4, 4, generator=seeded(1), dtype=torch.float64)


def test_the_image_behind_the_feature_of_an_invertible_encoder_is_recovered() -> None:
    encoder, decoder = toy()
    result = Hybrid(encoder, decoder, 600, 0.01).reconstruct(encoder(images()).detach(), seeded())
    assert result.images.shape == (3, 1, 3, 4, 4)
    assert result.images.dtype == result.losses.dtype == torch.float32
    torch.testing.assert_close(result.best(), images().float(), atol=1e-3, rtol=0)


def test_it_starts_at_the_decoders_image_and_is_never_worse() -> None:
    encoder, decoder = toy()
    features = encoder(images()).detach()
    start = BlackBox(decoder).reconstruct(features, seeded()).best().double()
    one = Hybrid(encoder, decoder, 1, 0.005).reconstruct(features, seeded())
    assert (one.best() - start.float()).abs().max() < 0.005 + 1e-6
    assert (one.losses[:, 0] < (encoder(start) - features).square().flatten(1).sum(dim=1)).all()


def test_a_perfect_start_is_kept() -> None:
    """Every step of Adam leads away from a minimum: what is shown must be the decoder's image."""
    encoder, decoder = toy()
    features = torch.randn(2, 12, 2, 2, generator=seeded(), dtype=torch.float64)
    start = BlackBox(decoder).reconstruct(features, seeded()).best()
    reached = encoder(start.double()).detach()

    class Known(nn.Module):
        def forward(self, _: Tensor) -> Tensor:
            return start.double()

    result = Hybrid(encoder, Known(), 5, 0.05).reconstruct(reached, seeded())
    assert torch.equal(result.best(), start)
    assert (result.losses < 1e-20).all()


def test_the_loss_is_that_of_eq_4_at_the_image_returned() -> None:
    encoder, decoder = toy()
    features = torch.randn(3, 12, 2, 2, generator=seeded(), dtype=torch.float64)
    result = Hybrid(encoder, decoder, 20, 0.02, tv=0.3).reconstruct(features, seeded())
    for image, feature, loss in zip(result.best().double(), features, result.losses[:, 0], strict=True):
        pixels = image.numpy()
        variation = np.abs(np.diff(pixels, axis=1)).sum() + np.abs(np.diff(pixels, axis=2)).sum()
        expected = (encoder(image[None])[0] - feature).square().sum().item() + 0.3 * variation
        assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_pixels_stay_in_range() -> None:
    encoder, decoder = toy()
    features = 100 * torch.randn(3, 12, 2, 2, generator=seeded(), dtype=torch.float64)
    pixels = Hybrid(encoder, decoder, 30, 0.1).reconstruct(features, seeded()).images
    assert pixels.min() == 0
    assert pixels.max() == 1


def test_an_image_alone_gives_what_it_gives_in_a_batch() -> None:
    encoder, decoder = toy()
    features = torch.randn(4, 12, 2, 2, generator=seeded(), dtype=torch.float64)
    attack = Hybrid(encoder, decoder, 25, tv=0.1)
    together, alone = attack.reconstruct(features, seeded()), attack.reconstruct(features[2:3], seeded())
    torch.testing.assert_close(together.images[2:3], alone.images, atol=1e-6, rtol=0)
    torch.testing.assert_close(together.losses[2:3], alone.losses)


def test_total_variation_smooths() -> None:
    encoder, decoder = toy()
    features = torch.randn(2, 12, 2, 2, generator=seeded(), dtype=torch.float64)
    rough, smooth = (
        Hybrid(encoder, decoder, 200, 0.02, tv=tv).reconstruct(features, seeded()).best() for tv in (0.0, 5.0)
    )
    assert (total_variation(smooth) < total_variation(rough) / 2).all()


def test_the_budget_is_honoured_and_reported() -> None:
    encoder, decoder = toy()
    passes: list[int] = []
    attack = Hybrid(encoder, decoder, 4)
    attack.encoder.register_forward_hook(lambda *_: passes.append(1))
    seen: list[tuple[int, int]] = []
    attack.reconstruct(
        torch.zeros(2, 12, 2, 2).double(), seeded(), lambda done, total: seen.append((done, total))
    )
    assert len(passes) == 1 + 4 + 1, "the check of the shape, four steps, and where the last one led"
    assert seen[-1] == (4, 4)
    assert len(seen) == 4


def test_features_of_another_shape_are_refused_naming_it() -> None:
    encoder, decoder = toy()
    with pytest.raises(ValueError, match=r"cannot read features of \(5, 2, 2\)"):
        Hybrid(encoder, decoder, 1).reconstruct(torch.zeros(1, 5, 2, 2).double(), seeded())
    larger = nn.Sequential(nn.ConvTranspose2d(12, 3, 4, stride=4), nn.Sigmoid()).double()
    with pytest.raises(ValueError, match=r"\(12, 2, 2\).*\(12, 4, 4\)"):
        Hybrid(encoder, larger, 1).reconstruct(torch.zeros(1, 12, 2, 2).double(), seeded())


@pytest.mark.parametrize("numbers", [{"iterations": 0}, {"learning_rate": 0.0}, {"tv": -1.0}])
def test_numbers_without_meaning_are_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Hybrid(*toy(), **numbers)
