"""The decoder that draws: what its draws depend on, that they are the faces, and where A1 begins."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from artifact import QUIET, artifact
from every_module import TARGET, config
from pytorch_lightning import Trainer
from small_networks import Encoding
from tiny_study import DATA, model, write
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from two_ranks import Head

from datamodules import SyntheticFaces
from experiments import attack, fit
from facecrafter.store import TensorStore
from lightning_modules.attackers.flow_decoder import FlowDecoder
from lightning_modules.networks.target import TargetNetwork

SIZES = {"image_size": 16, "width": 16, "blocks": 1, "draws": 3}


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    torch.manual_seed(0)
    return artifact(tmp_path / "target", Encoding())


def made(encoder: str, seed: int = 0, **changes: object) -> FlowDecoder:
    torch.manual_seed(seed)
    return FlowDecoder(encoder, **(SIZES | changes))


def batch() -> dict[str, Tensor]:
    images = torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return {"image": F.interpolate(images, (16, 16), mode="bilinear")}


def fitted(module: FlowDecoder, steps: int, seed: int = 0) -> FlowDecoder:
    torch.manual_seed(seed)
    loader = DataLoader([batch()] * steps, batch_size=None)
    Trainer(max_epochs=1, accelerator="cpu", limit_val_batches=0, **QUIET).fit(module, loader)
    return module.eval()


def features(module: FlowDecoder) -> Tensor:
    return module.encoder.on("cpu")(batch()["image"])


def test_the_gradient_is_that_of_finite_differences_and_leads_downhill(encoder: str) -> None:
    module = made(encoder).double()
    images = batch()["image"].double()
    read = features(module.float()).double()
    module.double()

    def loss() -> Tensor:
        torch.manual_seed(3)
        return module.pair_loss(read, images)

    loss().backward()
    weights = list(module.decoder.velocity.parameters())
    slopes = [weight.grad for weight in weights]
    length = sum(slope.square().sum() for slope in slopes).item()
    with torch.no_grad():
        values = []
        for step in (-1e-6, 2e-6):
            for weight, slope in zip(weights, slopes, strict=True):
                weight.add_(slope, alpha=step)
            values.append(loss().item())
    assert length > 0
    assert (values[1] - values[0]) / 2e-6 == pytest.approx(length, rel=1e-4)


def test_a_draw_is_the_same_whatever_is_drawn_beside_it_and_in_whatever_batch(encoder: str) -> None:
    module = made(encoder).eval()
    read = features(module)
    together = module(read)
    assert together.shape == (8, 3, 3, 16, 16)
    assert not torch.allclose(together[:, 0], together[:, 1])
    torch.testing.assert_close(module(read[2:3]), together[2:3])
    torch.testing.assert_close(module(read), together, rtol=0, atol=0)


def test_weights_and_draws_follow_from_the_seed(encoder: str) -> None:
    """The order of other draws does not matter: sheets of images and validations come in between."""
    first, again, other = (fitted(made(encoder, seed), 3, seed) for seed in (0, 0, 1))
    read = features(first)
    assert torch.equal(first(read), again(read))
    assert not torch.allclose(first(read), other(read))


def test_a_batch_is_learnt_and_shown_by_the_moving_average(encoder: str) -> None:
    module = made(encoder, learning_rate=5e-3, mirror=False, averaging=0.9)
    images = batch()["image"]
    before = F.mse_loss(module(features(module))[:, 0], images).item()
    fitted(module, 100)
    read = features(module)
    assert F.mse_loss(module(read)[:, 0], images).item() < before / 3
    assert module.network[-1] is module.average.module
    assert not torch.equal(module(read), module.decoder(read)), "the average lags behind"


def test_only_the_network_that_learns_is_moved(encoder: str) -> None:
    module = made(encoder)
    trained = {name for name, weight in module.named_parameters() if weight.requires_grad}
    assert trained == {name for name, _ in module.named_parameters() if name.startswith("decoder.")}
    noise = module.decoder.noise.clone()
    fitted(module, 3)
    assert torch.equal(module.decoder.noise, noise)
    assert torch.equal(module.average.module.noise, noise)


def test_a1_begins_with_what_the_basic_attack_uses(encoder: str, tmp_path: Path) -> None:
    basic = fitted(made(encoder, learning_rate=5e-3), 10)
    start = artifact(tmp_path / "basic", basic, encoder=encoder, **SIZES)
    tuned = made(encoder, seed=1, start=start).eval()
    read = features(basic)
    assert torch.equal(tuned(read), basic(read))
    assert torch.equal(tuned.decoder(read), basic(read))
    assert all(weight.requires_grad for weight in tuned.decoder.parameters())


def test_examples_show_the_image_beside_its_draws(encoder: str) -> None:
    examples = made(encoder).example_images(batch())
    assert examples.shape == (8, 3, 16, 64)
    torch.testing.assert_close(examples[..., :16], batch()["image"])


def test_without_steps_or_draws_it_is_refused(encoder: str) -> None:
    with pytest.raises(ValueError, match="steps=0 and draws=3 must both be at least 1"):
        made(encoder, steps=0)


PEOPLE = {"n_identities": 40, "private_identities": 16}  # each of whom has one picture attacked
POINT = {"model": model("Undefended", target="${target}"), "data": PEOPLE}
FLOW = {
    "model": model("FlowDecoder", encoder="${target}", image_size=32, width=16, blocks=1, learning_rate=5e-3),
    "data": PEOPLE,
}
PATCHES = {"in_channels": 3, "out_channels": 12, "kernel_size": 2, "stride": 2}


@pytest.mark.filterwarnings("ignore:LightningCLI's args parameter")
def test_undefended_painted_faces_are_recovered_by_the_commands(tmp_path: Path) -> None:
    """Of most faces the mean of the draws is nearest to their own among all that are attacked."""
    encoder = {"class_path": "torch.nn.Conv2d", "init_args": PATCHES}
    torch.manual_seed(0)
    target = TargetNetwork(17, encoder=nn.Conv2d(**PATCHES), head=Head())
    artifact(tmp_path / "target", target, **TARGET | {"encoder": encoder})
    for name, case, epochs in (("none", POINT, 1), ("flow", FLOW, 8)):
        line = config(tmp_path / f"{name}.yaml", tmp_path, case, max_epochs=epochs, limit_val_batches=0)
        fit.main(["--config", str(line), "--output", str(tmp_path / name)])
    content = {
        "features": str(tmp_path / "none" / "features"),
        "defence": str(tmp_path / "none"),
        "attack": {"class_path": "facecrafter.attacks.BlackBox"},
        "networks": {"decoder": str(tmp_path / "flow")},
        "output": str(tmp_path / "images"),
    }
    attack.main(["--config", str(write(content, tmp_path / "attack.yaml"))])
    found = TensorStore.open(tmp_path / "images").load("row", "images")
    assert found["images"].shape == (16, 8, 3, 32, 32)
    data = SyntheticFaces(**DATA["init_args"] | PEOPLE)
    data.prepare_data()
    data.setup("test")
    faces = data.faces("private_test")
    assert torch.equal(found["row"], faces.rows)
    distances = torch.cdist(found["images"].mean(dim=1).flatten(1), faces.images(torch.arange(16)).flatten(1))
    right = (distances.argmin(dim=1) == torch.arange(16)).sum().item()
    assert right >= 8, f"{right} of 16, where chance is 1"
