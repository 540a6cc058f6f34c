"""StyleGAN2's two players: each gets gradients everywhere, moves alone, and ends where it should."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from artifact import QUIET
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader

from facecrafter.losses.nonsaturating import r1_penalty
from facecrafter.nets.stylegan2.generator import StyleGenerator
from facecrafter.store import encoder_hash
from lightning_modules import PretrainedStyleGan2, StyleGan2
from lightning_modules.artifacts import load_artifact


def tiny(**options) -> StyleGan2:
    torch.manual_seed(0)
    sizes = {"image_size": 16, "latent_dim": 6, "mapping_layers": 2, "channel_base": 64, "channel_max": 8}
    return StyleGan2(**{**sizes, **options})


def batch(count: int = 8) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(1)
    return {"image": F.interpolate(torch.rand(count, 3, 4, 4, generator=random), 16)}


def fit(module: StyleGan2, epochs: int, **options) -> Trainer:
    trainer = Trainer(max_epochs=epochs, accelerator="cpu", **{**QUIET, **options})
    data = DataLoader([batch()] * 2, batch_size=None)
    trainer.fit(module, data)
    return trainer


def silent(module: StyleGan2) -> StyleGan2:
    """The same module, usable without a Trainer."""
    module.log = module.log_dict = lambda *_, **__: None
    return module


def gradients(network: torch.nn.Module) -> dict[str, float]:
    return {
        name: 0.0 if weight.grad is None else weight.grad.abs().max().item()
        for name, weight in network.named_parameters()
    }


@pytest.mark.parametrize("regularised", [False, True])
def test_every_weight_of_each_player_is_moved_by_its_own_objective_alone(regularised: bool) -> None:
    module = silent(tiny(style_mixing=0.0))
    faces = batch()["image"] * 2 - 1
    module.discriminator_objective(faces, module.fakes(8).detach(), regularised).backward()
    assert min(gradients(module.discriminator).values()) > 0
    assert max(gradients(module.generator).values()) == 0
    module.zero_grad()
    module.generator_objective(module.fakes(8), regularised).backward()
    assert min(gradients(module.generator).values()) > 0


def test_lazy_penalties_count_for_the_batches_they_are_left_out_of() -> None:
    module = silent(tiny(r1=3.0, r1_every=16, path_length=2.0, path_every=4))
    faces = batch()["image"] * 2 - 1

    fakes = module.fakes(8).detach()

    def difference(objective, *images: Tensor) -> float:
        plain, regularised = (objective(*images, regularised).item() for regularised in (False, True))
        return regularised - plain

    images = faces.clone().requires_grad_()
    penalty = r1_penalty(module.discriminator(images), images).item()
    found = difference(module.discriminator_objective, faces, fakes)
    assert found == pytest.approx(16 * 3 / 2 * penalty, rel=1e-3)
    module._path_penalty = lambda count: torch.tensor(float(count))
    assert difference(module.generator_objective, fakes) == pytest.approx(4 * 2 * 4, rel=1e-5), "half a batch"


def test_the_mean_path_length_follows_and_is_what_lengths_are_drawn_to() -> None:
    module = silent(tiny(style_mixing=0.0))
    torch.manual_seed(5)
    first = module._path_penalty(4).item()
    mean = module.path_mean.item()
    assert mean > 0
    assert first == pytest.approx((mean / 0.01 - mean) ** 2, rel=0.5), "lengths are far above a mean from 0"
    for _ in range(300):
        module._path_penalty(2)
    assert module._path_penalty(64).item() < 0.2 * first


def test_the_discriminator_learns_to_tell_faces_from_fakes() -> None:
    module = silent(tiny(r1=0.0))
    optimizer = torch.optim.Adam(module.discriminator.parameters(), 1e-2)
    generator = encoder_hash(module.generator)
    faces = batch()["image"] * 2 - 1
    for _ in range(40):
        optimizer.zero_grad()
        module.discriminator_objective(faces, module.fakes(8).detach(), False).backward()
        optimizer.step()
    assert module.discriminator(faces).mean() > module.discriminator(module.fakes(8)).mean() + 1
    weights = {name: value for name, value in module.generator.state_dict().items() if "w_avg" not in name}
    fresh = {name: value for name, value in tiny().generator.state_dict().items() if "w_avg" not in name}
    assert all(torch.equal(weights[name], fresh[name]) for name in fresh)
    assert encoder_hash(module.generator) != generator, "w_avg follows the styles that are drawn"


def test_the_generator_climbs_the_discriminators_logits() -> None:
    module = silent(tiny())
    optimizer = torch.optim.Adam(module.generator.parameters(), 2e-3)
    z = torch.randn(16, 6)

    def logits() -> float:
        fakes = module.generator.synthesis(module.generator.per_layer(module.generator.mapping(z)))
        return module.discriminator(fakes).mean().item()

    before = logits()
    for _ in range(20):
        optimizer.zero_grad()
        module.generator_objective(module.fakes(16), False).backward()
        optimizer.step()
    assert logits() > before


def test_a_fit_moves_both_players_and_leaves_them_able_to_move() -> None:
    module = tiny()
    start = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    fit(module, 2)
    for name, weight in module.named_parameters():
        if not name.startswith("average"):
            assert not torch.equal(weight, start[name]), name
            assert weight.requires_grad, name


def test_the_moving_average_is_that_of_its_formula() -> None:
    module = tiny(averaging=0.5)
    seen: list[Tensor] = []
    update = module.average.update_parameters
    weight = module.generator.synthesis["b8"].conv0.weight
    module.average.update_parameters = lambda g: (seen.append(weight.detach().clone()), update(g))[1]
    fit(module, 3)
    expected = seen[0]
    for updates, current in enumerate(seen[1:], start=1):
        decay = min(0.5, (1 + updates) / (10 + updates))
        expected = decay * expected + (1 - decay) * current
    assert len(seen) == 6
    torch.testing.assert_close(module.network.synthesis["b8"].conv0.weight, expected)
    assert module.network is module.average.module


def test_the_mean_style_comes_near_that_of_many_latents() -> None:
    module = silent(tiny())
    for _ in range(1000):
        module._styles(8)
    styles = module.generator.mapping(torch.randn(20_000, 6))
    error = (module.generator.mapping.w_avg - styles.mean(dim=0)).norm() / styles.std(dim=0).norm()
    assert error < 0.1


def test_mixing_gives_the_finer_layers_another_latents_style() -> None:
    module = silent(tiny(style_mixing=1.0))
    for seed in range(5):
        torch.manual_seed(seed)
        ws = module._styles(3)
        assert ws.shape == (3, 6, 6)
        same = (ws == ws[:, :1]).all(dim=2)
        cut = int(same[0].sum())
        assert 1 <= cut < 6
        assert same[:, :cut].all()
        assert not same[:, cut:].any()
    plain = silent(tiny(style_mixing=0.0))._styles(3)
    assert (plain == plain[:, :1]).all()


def test_a_resumed_training_ends_where_an_unbroken_one_ends(tmp_path: Path) -> None:
    """Nothing that decides the result may be missing from the checkpoint (momenta, averages, lengths)."""
    unbroken, first, second = tiny(), tiny(), tiny()
    torch.manual_seed(0)
    fit(unbroken, 4)
    torch.manual_seed(0)
    fit(first, 2).save_checkpoint(tmp_path / "half.ckpt")
    torch.manual_seed(0)
    Trainer(max_epochs=4, accelerator="cpu", **QUIET).fit(
        second,
        DataLoader([batch()] * 2, batch_size=None),
        ckpt_path=tmp_path / "half.ckpt",
        weights_only=True,
    )
    for name, value in unbroken.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], value, rtol=0, atol=0)


def test_validation_reports_how_real_held_out_people_look() -> None:
    module = tiny()
    trainer = Trainer(accelerator="cpu", **QUIET)
    trainer.validate(module, DataLoader([batch()], batch_size=None), verbose=False)
    expected = module.discriminator(batch()["image"] * 2 - 1).mean().item()
    assert trainer.callback_metrics["val/real"].item() == pytest.approx(expected, rel=1e-5)


def test_examples_are_images() -> None:
    images = tiny().example_images(batch(5))
    assert images.shape == (5, 3, 16, 16)
    assert not images.requires_grad
    assert 0 <= images.min() <= images.max() <= 1


def test_ddp_without_the_flag_is_refused_naming_it() -> None:
    with pytest.raises(ValueError, match="ddp_find_unused_parameters_true"):
        fit(tiny(), 1, strategy="ddp", devices=1)


def test_a_network_brought_along_is_an_artifact_without_training(tmp_path: Path) -> None:
    torch.manual_seed(0)
    generator = StyleGenerator(32, 4, 4, 2, 64, 4)
    torch.save(generator.state_dict(), tmp_path / "network.pt")
    arguments = {"checkpoint": str(tmp_path / "network.pt"), "image_size": 16}
    model = {"class_path": "lightning_modules.PretrainedStyleGan2", "init_args": arguments}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": model}))
    module = load_artifact(tmp_path, LightningModule)
    assert isinstance(module, PretrainedStyleGan2)
    z = torch.randn(2, 4)
    assert module.network(z).shape == (2, 3, 16, 16)
    w = generator.mapping(z)
    assert torch.equal(module.network.mapping(z), w)
