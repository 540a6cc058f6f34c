"""The prior's two players: each gets a gradient with the right sign, and only its own weights move."""

from __future__ import annotations

import pytest
import torch
from artifact import QUIET
from pytorch_lightning import Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from facecrafter.crafter.inversion import squared_distance
from facecrafter.store import encoder_hash
from lightning_modules.attackers.prior import Prior


def tiny(**options) -> Prior:
    torch.manual_seed(0)
    sizes = {"latent_dim": 8, "image_size": 32, "width": 4, "critic_width": 4, "critic_steps": 1}
    return Prior(**{**sizes, **options})


def batch() -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    return {"image": torch.nn.functional.interpolate(torch.rand(8, 3, 4, 4, generator=random), 32)}


def fit(prior: Prior, epochs: int, **options) -> Trainer:
    trainer = Trainer(max_epochs=epochs, accelerator="cpu", **{**QUIET, **options})
    trainer.fit(prior, DataLoader([batch()], batch_size=None))
    return trainer


def test_the_reconstruction_term_teaches_the_generator_to_express_the_faces() -> None:
    prior = tiny(reconstruction=1.0, divergence=0.0, adversary_from=100, learning_rate=3e-3)
    faces = batch()["image"]

    def distance() -> float:
        return squared_distance(prior.network(prior.posterior(faces)[0]), faces).mean().item()

    before = distance()
    fit(prior, 60)
    prior.eval()
    assert distance() < 0.3 * before


def test_the_critic_learns_to_tell_faces_from_fakes() -> None:
    """The generator sees a critic's step only every 1,000th batch, so only the critic moves."""
    prior = tiny(critic_steps=1000, learning_rate=1e-3)
    trainer = fit(prior, 40)
    assert trainer.callback_metrics["train/emd"] > 0.05
    fresh = dict(tiny().generator.named_parameters())
    assert all(torch.equal(weight, fresh[name]) for name, weight in prior.generator.named_parameters())


def test_the_generator_climbs_the_critics_scores() -> None:
    prior = tiny(learning_rate=1e-3)
    z = torch.randn(16, 8)
    optimizer = torch.optim.Adam(prior.generator.parameters(), 1e-3)
    prior.log = prior.log_dict = lambda *_, **__: None
    prior.manual_backward = lambda loss: loss.backward()
    prior.configure_optimizers()
    before = prior.critic(prior.generator(z)).mean().item()
    critic = encoder_hash(prior.critic)
    for _ in range(20):
        prior._generator_step(batch()["image"], optimizer)
    assert prior.critic(prior.generator(z)).mean().item() > before
    assert encoder_hash(prior.critic) == critic, "the generator's step must not move the critic"
    assert all(weight.requires_grad for weight in prior.critic.parameters())


def test_the_moving_average_lags_behind_and_is_what_attacks_use() -> None:
    prior = tiny(reconstruction=1.0, adversary_from=100, averaging=0.9)
    start = prior.generator[0].weight.detach().clone()
    fit(prior, 5)
    moved = (prior.generator[0].weight - start).norm()
    lag = (prior.generator[0].weight - prior.network[0].weight).norm()
    assert 0 < lag < moved
    assert prior.network is prior.average.module


def test_a_resumed_training_ends_where_an_unbroken_one_ends(tmp_path) -> None:
    """Nothing that decides the result may be missing from the checkpoint (momenta, averages, epoch)."""
    options = {"reconstruction": 1.0, "divergence": 0.0, "critic_steps": 1}

    class Deterministic(Prior):
        def _latents(self, count: int) -> Tensor:
            return torch.ones(count, self.latent_dim)

        def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
            torch.manual_seed(self.current_epoch)
            super().training_step(batch, batch_idx)

    def make() -> Prior:
        torch.manual_seed(0)
        return Deterministic(latent_dim=8, image_size=32, width=4, critic_width=4, **options)

    unbroken, first, second = make(), make(), make()
    fit(unbroken, 4)
    fit(first, 2).save_checkpoint(tmp_path / "half.ckpt")
    Trainer(max_epochs=4, accelerator="cpu", **QUIET).fit(
        second, DataLoader([batch()], batch_size=None), ckpt_path=tmp_path / "half.ckpt", weights_only=True
    )
    for name, value in unbroken.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], value, rtol=0, atol=0)


def test_ddp_without_the_flag_is_refused_naming_it() -> None:
    with pytest.raises(ValueError, match="ddp_find_unused_parameters_true"):
        fit(tiny(), 1, strategy="ddp", devices=1)


def test_a_prior_with_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(ValueError, match="adversary_from=0"):
        tiny(adversary_from=3)
