"""Adversarial learning: both players move the right way, in turns, and λ = 0 is no privacy at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_rivals import (
    CHANNELS,
    IGNORED,
    assert_descends,
    assert_published,
    assert_same_weights,
    fit,
    fit_from_the_command_line,
    toy_batch,
    toy_decoder,
    toy_target,
    train_only,
)

from facecrafter.store import TensorStore, encoder_hash
from lightning_modules import AdversarialLearning

DECODER_TURN, BOTH_TURNS = 1, 2


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("networks")
    target = toy_target(folder)
    return {"target": target, "decoder": toy_decoder(folder, target)}


def rival(networks: dict[str, str], lambda_: float = 0.5, **options: Any) -> AdversarialLearning:
    return AdversarialLearning(**networks, lambda_=lambda_, **options)


def distance(module: AdversarialLearning, loss: str = "published") -> Tensor:
    """‖x − Dec(Enc(x))‖ / (H·W), by loops: of 32 normalised images in one norm, or averaged over images."""
    images = toy_batch()["image"]
    rebuilt = module.decoder(module.encoder(images))
    if loss == "per_image":
        each = [(x - y).square().sum().sqrt() / (8 * 8) for x, y in zip(images, rebuilt, strict=True)]
        return torch.stack(each).mean()
    copies = 32 // len(images)  # one norm over a batch of 32
    colours = [
        ((images - rebuilt)[:, channel] / deviation).square().sum()
        for channel, deviation in enumerate((0.229, 0.224, 0.225))
    ]
    return (copies * sum(colours)).sqrt() / (8 * 8)


@pytest.mark.parametrize("loss", ["published", "per_image"])
def test_each_players_gradient_is_that_of_its_stated_objective(networks: dict[str, str], loss: str) -> None:
    module = rival(networks, lambda_=0.3, loss=loss)
    train_only(module)
    fit(module, epochs=BOTH_TURNS)
    batch = toy_batch()

    def encoder_objective() -> Tensor:
        probability = module.head(module.encoder(batch["image"])).sigmoid()
        yes, no = batch["attributes"] * probability.log(), (1 - batch["attributes"]) * (1 - probability).log()
        return 0.7 * -(yes + no).mean() - 0.3 * distance(module, loss)

    assert_descends(module, "decoder", lambda: distance(module, loss))
    assert_descends(module, "encoder", encoder_objective)


def test_the_decoder_alone_learns_to_reconstruct(networks: dict[str, str]) -> None:
    module = rival(networks)
    before = distance(module.double()).item()
    train_only(module, "decoder")
    fit(module, epochs=DECODER_TURN, batches=100)
    assert distance(module).item() < 0.7 * before


def test_the_encoder_alone_pushes_the_images_away(networks: dict[str, str]) -> None:
    module = rival(networks, lambda_=1.0)
    train_only(module, "decoder")
    fit(module, epochs=DECODER_TURN, batches=100)
    before = distance(module).item()
    train_only(module, "encoder")
    fit(module, epochs=BOTH_TURNS, batches=20)
    assert distance(module).item() > 1.1 * before


def test_who_does_not_move_stands_still(networks: dict[str, str]) -> None:
    """Enc and f during the decoder's epoch, the decoder during theirs; and the artifacts of both always."""
    untouched = rival(networks).double()
    module = rival(networks)
    fit(module, epochs=DECODER_TURN, batches=2)
    assert encoder_hash(module.encoder) == encoder_hash(untouched.encoder)
    assert encoder_hash(module.head) == encoder_hash(untouched.head)
    assert encoder_hash(module.decoder) != encoder_hash(untouched.decoder)

    module = rival(networks)
    train_only(module, "encoder")
    fit(module, epochs=BOTH_TURNS, batches=2)
    assert encoder_hash(module.decoder) == encoder_hash(untouched.decoder)
    assert encoder_hash(module.encoder) != encoder_hash(untouched.encoder)
    assert encoder_hash(rival(networks).double()) == encoder_hash(untouched)


def test_lambda_0_is_the_run_without_a_privacy_term(networks: dict[str, str]) -> None:
    class NoPrivacy(AdversarialLearning):
        def encoder_objective(self, batch: dict[str, Tensor]) -> Tensor:
            logits = self.head(self.encoder(batch["image"]))
            return torch.nn.functional.binary_cross_entropy_with_logits(logits, batch["attributes"])

    module, plain = rival(networks, lambda_=0.0), NoPrivacy(**networks, lambda_=0.7)
    for trained in (module, plain):
        fit(trained, epochs=2 * BOTH_TURNS, batches=3)
    assert encoder_hash(module) == encoder_hash(plain)


def test_lambda_does_not_depend_on_the_batch_size(networks: dict[str, str]) -> None:
    """A batch and the same batch twice over are one objective, as published and per image."""
    for loss in ("published", "per_image"):
        module, batch = rival(networks, loss=loss).double(), toy_batch()
        twice = {name: torch.cat([value, value]) for name, value in batch.items()}
        torch.testing.assert_close(module.encoder_objective(twice), module.encoder_objective(batch))


def test_privacy_weighs_as_published_where_nothing_is_said(networks: dict[str, str]) -> None:
    """Per image it is a 25th: a published λ would be another, weaker one, and the rival lose by it."""
    assert_published(AdversarialLearning(**networks).distance)


def from_the_command_line(folder: Path, killed_at: int | None = None, **data: object) -> dict[str, Tensor]:
    target = toy_target(folder, 17)
    networks = {"target": target, "decoder": toy_decoder(folder, target, image_size=32)}
    model = {"class_path": "lightning_modules.AdversarialLearning", "init_args": networks}
    data = {"fit_role": ["public", "private_train"]} | data
    trainer = {"max_epochs": 4, "reload_dataloaders_every_n_epochs": 1}
    return fit_from_the_command_line(folder / "fit", model, data, trainer, killed_at)


@pytest.mark.filterwarnings(*IGNORED)
def test_a_killed_run_ends_where_an_unbroken_one_ends(tmp_path: Path) -> None:
    """Killed between the two turns: the role that is due comes next, in the same order of images."""
    unbroken = from_the_command_line(tmp_path / "unbroken")
    resumed = from_the_command_line(tmp_path / "resumed", killed_at=1)
    assert_same_weights(unbroken, resumed)
    features = TensorStore.open(tmp_path / "resumed" / "fit" / "run" / "features").load("row", "features")
    assert features["features"].shape == (4, CHANNELS, 8, 8)


@pytest.mark.filterwarnings(*IGNORED)
def test_data_without_both_roles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"fit_role to \['public', 'private_train'\]"):
        from_the_command_line(tmp_path, fit_role="public")


def test_ddp_without_the_flag_is_refused_naming_it(networks: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="ddp_find_unused_parameters_true"):
        fit(rival(networks), strategy="ddp", devices=1)


def test_a_decoder_of_another_encoder_is_refused(networks: dict[str, str], tmp_path: Path) -> None:
    other = toy_target(tmp_path, seed=3)
    with pytest.raises(ValueError, match="reads features of encoder"):
        AdversarialLearning(target=other, decoder=networks["decoder"])
