"""The decoder that a critic judges: what each of the two learns, and in what."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from artifact import QUIET, artifact
from pytorch_lightning import LightningModule, Trainer
from small_networks import Encoding
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lightning_modules.attackers.adversarial_decoder import AdversarialDecoder, hidden_maps, map_distance
from lightning_modules.attackers.decoder import Decoder

SIZES = {"image_size": 32, "width": 8, "blocks": 1, "critic_width": 4, "mirror": False}


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    torch.manual_seed(0)
    return artifact(tmp_path, Encoding())


def batch() -> dict[str, Tensor]:
    images = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return {"image": F.interpolate(images, (32, 32), mode="bilinear")}


def decoder(encoder: str, **numbers: float) -> AdversarialDecoder:
    torch.manual_seed(0)
    return AdversarialDecoder(encoder, **(SIZES | {"learning_rate": 3e-3} | numbers))


def fit(module: LightningModule, steps: int) -> LightningModule:
    Trainer(max_epochs=1, accelerator="cpu", limit_val_batches=0, **QUIET).fit(
        module, DataLoader([batch()] * steps, batch_size=None)
    )
    return module


def test_without_the_two_terms_it_is_the_plain_decoder(encoder: str) -> None:
    """One-cycle schedule included: the critic beside it must leave the decoder's steps as they are."""
    judged = fit(decoder(encoder, perceptual=0.0, adversarial=0.0), 5)
    torch.manual_seed(0)
    sizes = {name: value for name, value in SIZES.items() if name != "critic_width"}
    plain = fit(Decoder(encoder, **sizes, learning_rate=3e-3), 5)
    for name, weight in plain.decoder.state_dict().items():
        torch.testing.assert_close(judged.decoder.state_dict()[name], weight)


def test_a_batch_is_learnt_under_both_terms(encoder: str) -> None:
    module = decoder(encoder)
    before = module.validation_loss(batch()).item()
    assert fit(module, 60).validation_loss(batch()).item() < before / 3


def test_each_loss_moves_its_own_player_alone(encoder: str) -> None:
    module = decoder(encoder)
    images = batch()["image"]
    shown = module(module.encoder.on("cpu")(images))
    module.log = module.log_dict = lambda *args, **kwargs: None
    module._critic_loss(images, shown.detach()).backward()
    assert all(weight.grad is None for weight in module.decoder.parameters())
    critic = [weight.grad.clone() for weight in module.critic.parameters()]
    assert all(slope.abs().sum() > 0 for slope in critic if slope.ndim == 4), "every convolution learns"
    module.critic.requires_grad_(False)
    module._decoder_loss(images, shown).backward()
    assert all(weight.grad.abs().sum() > 0 for weight in module.decoder.parameters())
    assert all(torch.equal(w.grad, g) for w, g in zip(module.critic.parameters(), critic, strict=True))


def test_the_critic_learns_to_tell_images_from_reconstructions(encoder: str) -> None:
    module = decoder(encoder, critic_learning_rate=2e-3, learning_rate=1e-5)
    fit(module, 40)
    images = batch()["image"]
    with torch.no_grad():
        real, fake = module.critic(images), module.critic(module(module.encoder.on("cpu")(images)))
    assert real.min() > fake.max()


def test_the_critics_loss_is_the_hinge(encoder: str) -> None:
    module = decoder(encoder)
    module.log = lambda *args, **kwargs: None
    images, shown = torch.rand(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        real, fake = module.critic(images).tolist(), module.critic(shown).tolist()
        loss = module._critic_loss(images, shown).item()
    expected = sum(max(0, 1 - r) for r in real) / 3 + sum(max(0, 1 + f) for f in fake) / 3
    assert loss == pytest.approx(expected, rel=1e-5)


def test_the_perceptual_distance_is_taken_in_every_hidden_map(encoder: str) -> None:
    module, images = decoder(encoder), batch()["image"]
    *maps, scores = hidden_maps(module.critic, images)
    assert [tuple(m.shape[1:]) for m in maps] == [(4, 16, 16), (8, 8, 8), (16, 4, 4), (32, 2, 2)]
    torch.testing.assert_close(scores, module.critic(images))
    assert map_distance(maps, maps) == 0
    shifted = [m + step for m, step in zip(maps, (0.1, 0.2, 0.3, 0.4), strict=True)]
    assert map_distance(maps, shifted).item() == pytest.approx(0.25, rel=1e-4)


def test_the_encoder_is_only_queried(encoder: str) -> None:
    """A black-box attacker has no derivatives: they are not taken even where autograd could."""
    module = decoder(encoder)
    network = module.encoder.on("cpu")
    outputs: list[Tensor] = []
    network.register_forward_hook(lambda _, __, output: outputs.append(output))
    fit(module, 2)
    assert len(outputs) == 2, "once per batch, never for a reconstruction"
    assert not any(output.requires_grad for output in outputs)


def test_negative_weights_are_refused(encoder: str) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        decoder(encoder, perceptual=-1.0)
