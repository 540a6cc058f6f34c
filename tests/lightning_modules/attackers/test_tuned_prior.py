"""A1 white-box: only the generator's weights learn, from best responses that follow it."""

from __future__ import annotations

from copy import copy
from pathlib import Path

import pytest
import torch
from artifact import QUIET, artifact
from pytorch_lightning import LightningDataModule, LightningModule, Trainer
from small_networks import Encoding
from torch import nn
from torch.utils.data import DataLoader

from facecrafter.attacks import WhiteBox
from facecrafter.crafter.inversion import squared_distance
from facecrafter.store import encoder_hash
from lightning_modules.artifacts import load_artifact
from lightning_modules.attackers import tuned_prior
from lightning_modules.attackers.tuned_prior import TunedPrior


class Faces(LightningModule):
    """A prior of three latents, with a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(3, 32),
            nn.Unflatten(1, (8, 2, 2)),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 3, 4, stride=4),
            nn.Sigmoid(),
        )


class Pairs(LightningDataModule):
    """Images of other faces than the prior's, whose protected features are those of the prior's faces."""

    def __init__(self, encoder: nn.Module, prior: nn.Module, count: int = 12) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(3)
        with torch.no_grad():
            self.features = encoder(prior.eval()(torch.randn(count, 3, generator=random)))
        base = torch.rand(1, 3, 8, 8, generator=random)
        self.images = (0.7 * base + 0.3 * torch.rand(count, 3, 8, 8, generator=random)).clamp(0, 1)
        self.encoder_hash = encoder_hash(encoder)

    def batches(self) -> list[dict[str, torch.Tensor]]:
        rows = torch.arange(len(self.images)) + 100
        return [
            {"image": self.images[part], "features": self.features[part], "row": rows[part]}
            for part in torch.arange(len(rows)).split(4)
        ]

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.batches(), batch_size=None)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.batches()[:1], batch_size=None)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(tuned_prior, "Prior", Faces)
    torch.manual_seed(0)
    prior = Faces()
    prior.network.train()(torch.randn(32, 3))
    modules = {"encoder": Encoding(), "prior": prior}
    return {name: artifact(tmp_path / name, module) for name, module in modules.items()}


def data(folders: dict[str, str]) -> Pairs:
    networks = (
        load_artifact(folders["encoder"], Encoding).encoder,
        load_artifact(folders["prior"], Faces).network,
    )
    return Pairs(*networks)


def tune(folders: dict[str, str], epochs: int, **numbers: float) -> TunedPrior:
    module = TunedPrior(**folders, precision="32", **({"iterations": 30, "refinements": 3} | numbers))
    torch.manual_seed(5)
    Trainer(max_epochs=epochs, accelerator="cpu", **QUIET).fit(module, datamodule=data(folders))
    return module


def error(module: TunedPrior, pairs: Pairs) -> float:
    """Of a fresh white-box attack with this generator as its prior."""
    attack = WhiteBox(
        load_artifact(module.encoder_folder, Encoding).encoder, module.network, 30, 2, precision="32"
    )
    found = attack.reconstruct(pairs.features, torch.Generator().manual_seed(0)).best()
    return (found - pairs.images).square().mean().item()


def test_best_responses_are_to_the_channels_that_were_told(folders: dict[str, str]) -> None:
    """Drawn to faces whose channels are zero, they taught G nothing, and dropout looked safe from A1."""
    module, pairs = TunedPrior(**folders, iterations=60, precision="32"), data(folders)
    module._seed = 0
    module._invert_through_current()
    sent = pairs.features.clone()
    for row, feature in enumerate(sent):
        feature[torch.randperm(12, generator=torch.Generator().manual_seed(row))[:4]] = 0
    latents = module._best_responses(torch.arange(12), sent)
    left = squared_distance(module._phi(latents).features, pairs.features)
    assert left.median() < 1e-4 * pairs.features.square().flatten(1).sum(dim=1).median()


def test_the_attack_with_the_tuned_generator_shows_the_images_behind_the_features(
    folders: dict[str, str],
) -> None:
    pairs = data(folders)
    untuned = TunedPrior(**folders)
    assert error(tune(folders, 25, learning_rate=3e-3), pairs) < error(untuned, pairs) / 2


def test_only_weights_learn_and_batch_norms_keep_their_statistics(folders: dict[str, str]) -> None:
    before = load_artifact(folders["prior"], Faces).network
    module = tune(folders, 2, learning_rate=1e-3)
    buffers = dict(module.generator.named_buffers())
    assert buffers.keys() >= {"2.running_mean", "2.running_var"}
    for name, buffer in before.named_buffers():
        assert torch.equal(buffers[name], buffer), name
    for name, weight in before.named_parameters():
        assert not torch.equal(dict(module.generator.named_parameters())[name], weight), name
    assert {id(p) for p in module.parameters()} == {id(p) for p in module.generator.parameters()}


def test_images_are_inverted_at_length_once_and_refined_afterwards(
    folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets: list[tuple[int, int]] = []
    original = tuned_prior.invert

    def counted(phi, features, start, iterations, steps):
        budgets.append((len(features), iterations))
        return original(phi, features, start, iterations, steps)

    monkeypatch.setattr(tuned_prior, "invert", counted)
    tune(folders, 2, iterations=7, refinements=2, learning_rate=1e-3)
    # Validation before the first epoch, three batches of which one is known from there, validation; again.
    assert budgets == [(4, 7), (4, 2), (4, 7), (4, 7), *[(4, 2)] * 5]


def test_best_responses_are_those_of_the_generator_as_the_epoch_began(folders: dict[str, str]) -> None:
    """With enough refinements z* is stationary for the generator that it was found with."""
    pairs = data(folders)
    module = tune(folders, 1, iterations=60, learning_rate=0.05)
    found = torch.stack([module._latents[row] for row in range(100, 112)]).requires_grad_()
    encoder, prior = (
        load_artifact(folders["encoder"], Encoding).encoder,
        load_artifact(folders["prior"], Faces),
    )

    def slope(generator: nn.Module) -> float:
        loss = (encoder(generator(found)) - pairs.features).square().flatten(1).sum(dim=1)
        return torch.autograd.grad(loss.sum(), found)[0].norm(dim=1).median().item()

    assert slope(prior.network) < slope(module.generator) / 10, "tuned by a large step, G has moved away"


def test_the_same_run_gives_the_same_generator(folders: dict[str, str]) -> None:
    one, other = (tune(folders, 2, iterations=3, refinements=1).generator.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_images_without_features_are_refused_with_a_remedy(folders: dict[str, str]) -> None:
    module = TunedPrior(**folders)
    with pytest.raises(ValueError, match=r"datamodules\.ProtectedPairs"):
        module.training_step({"image": torch.zeros(2, 3, 8, 8)}, 0)


def test_pairs_of_another_encoder_are_refused(folders: dict[str, str]) -> None:
    pairs = data(folders)
    pairs.encoder_hash = "0" * 64
    with pytest.raises(ValueError, match="made by encoder 000000000000"):
        Trainer(max_epochs=1, accelerator="cpu", **QUIET).fit(TunedPrior(**folders), datamodule=pairs)


def test_examples_show_the_image_beside_its_reconstruction(folders: dict[str, str]) -> None:
    module, batch = tune(folders, 1, learning_rate=1e-3), data(folders).batches()[0]
    examples = module.example_images(batch)
    assert examples.shape == (4, 3, 8, 16)
    assert torch.equal(examples[..., :8], batch["image"])


@pytest.mark.parametrize("numbers", [{"iterations": 0}, {"refinements": 0}])
def test_budgets_below_one_are_refused(folders: dict[str, str], numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        TunedPrior(**folders, **numbers)


class Undefended(Pairs):
    """Images that the prior does not know, with the features that nobody protected; a third is held out."""

    def __init__(self, encoder: nn.Module, prior: nn.Module, count: int = 24) -> None:
        super().__init__(encoder, prior, count)
        with torch.no_grad():
            self.features = encoder(self.images)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.batches()[2:], batch_size=None)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.batches()[:2], batch_size=None)


class Known(Undefended):
    """Images that the prior shows all but exactly: there is nothing to gain by tuning, and much to lose."""

    def __init__(self, encoder: nn.Module, prior: nn.Module, count: int = 24) -> None:
        super().__init__(encoder, prior, count)
        random = torch.Generator().manual_seed(4)
        with torch.no_grad():
            faces = prior.eval()(torch.randn(count, 3, generator=random))
            self.images = (faces + 0.01 * torch.randn(faces.shape, generator=random)).clamp(0, 1)
            self.features = encoder(self.images)


@pytest.mark.parametrize(("kind", "slack"), [(Undefended, 1.0), (Known, 1.01)])
def test_tuning_on_undefended_features_never_makes_the_attack_worse(
    kind: type[Undefended], slack: float, folders: dict[str, str]
) -> None:
    """Who adapts and finds less than before has tuned badly, which says nothing of a defence. Of images that
    the prior shows all but exactly the published rate would make the error a tenth larger; a rate that is
    chosen by some may cost the others next to nothing."""
    pairs = kind(
        load_artifact(folders["encoder"], Encoding).encoder, load_artifact(folders["prior"], Faces).network
    )
    held_out = copy(pairs)
    held_out.images, held_out.features = pairs.images[:8], pairs.features[:8]
    tuned = TunedPrior(**folders, precision="32", iterations=30, refinements=3)
    torch.manual_seed(5)
    Trainer(max_epochs=8, accelerator="cpu", **QUIET).fit(tuned, datamodule=pairs)
    assert tuned.learning_rate in tuned_prior.RATES
    assert error(tuned, held_out) <= slack * error(TunedPrior(**folders), held_out)


def test_tuning_finds_more_of_images_by_which_no_rate_was_chosen(folders: dict[str, str]) -> None:
    """Long after the trials, and of pictures that neither tuned nor chose: the rate that was taken goes on to
    help, and it is not the one that leaves everything as it was."""
    encoder, prior = (
        load_artifact(folders["encoder"], Encoding).encoder,
        load_artifact(folders["prior"], Faces).network,
    )
    pairs = Undefended(encoder, prior, count=40)
    strangers = copy(pairs)
    strangers.images, strangers.features = pairs.images[24:], pairs.features[24:]
    pairs.images, pairs.features = pairs.images[:24], pairs.features[:24]
    tuned = TunedPrior(**folders, precision="32", iterations=30, refinements=3)
    torch.manual_seed(5)
    Trainer(max_epochs=30, accelerator="cpu", **QUIET).fit(tuned, datamodule=pairs)
    assert tuned.learning_rate > 0
    assert tuned.trainer.global_step > 3 * tuned_prior.TRIAL
    assert error(tuned, strangers) < 0.9 * error(TunedPrior(**folders), strangers)


def test_pairs_that_teach_nothing_leave_the_prior_as_it_is(folders: dict[str, str]) -> None:
    """Every rate that moves it brings the images that are held out further away."""
    pairs = Undefended(
        load_artifact(folders["encoder"], Encoding).encoder, load_artifact(folders["prior"], Faces).network
    )
    pairs.images[:8] *= 0.2
    pairs.images[8:] = 1.0
    before = load_artifact(folders["prior"], Faces).network.state_dict()
    tuned = TunedPrior(**folders, precision="32", iterations=30, refinements=3)
    Trainer(max_epochs=2, accelerator="cpu", **QUIET).fit(tuned, datamodule=pairs)
    assert tuned.learning_rate == 0
    assert all(torch.equal(tuned.generator.state_dict()[name], one) for name, one in before.items())


def test_no_single_step_destroys_the_generator(folders: dict[str, str]) -> None:
    """RMSprop's first step is ten learning rates long, in every weight, unless the rate rises to it."""
    before = load_artifact(folders["prior"], Faces).network.state_dict()
    module = TunedPrior(**folders, precision="32", learning_rate=1e-3)
    torch.manual_seed(5)
    Trainer(max_steps=1, accelerator="cpu", **QUIET).fit(module, datamodule=data(folders))
    after = module.generator.state_dict()
    assert 0 < max((after[name] - before[name]).abs().max().item() for name in before) <= 1e-3


def test_a_resumed_run_keeps_the_rate_that_was_chosen(folders: dict[str, str]) -> None:
    """A search that starts from tuned weights would choose another."""
    chosen = tune(folders, 1, iterations=3, refinements=1)
    checkpoint: dict[str, float] = {}
    chosen.on_save_checkpoint(checkpoint)
    resumed = TunedPrior(**folders)
    resumed.on_load_checkpoint(checkpoint)
    assert resumed.learning_rate == chosen.learning_rate
