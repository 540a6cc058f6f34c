"""The same numbers on a GPU as on the processor, but for its precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from facecrafter.attacks import BlackBox, Hybrid, Progressive, WhiteBox
from facecrafter.crafter.crafting import FeatureCrafting
from facecrafter.crafter.crafting_z import LatentCrafting
from facecrafter.crafter.critic import CriticTraining
from facecrafter.crafter.inversion import AttackerModel, InnerProblem
from facecrafter.crafter.reference import PublishedCrafting, RestartedInversion
from facecrafter.nets.decoder import Decoder
from facecrafter.nets.generator import Generator1
from facecrafter.nets.target import resnet18

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

INNER = InnerProblem(first=6, starts=1, refresh=2)
CRITIC = CriticTraining(steps=1, warmup=2, batch=4, width=4)


@pytest.fixture(autouse=True)
def exact_products() -> None:
    """Float32 products as on the processor, not in TF32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def networks() -> tuple[torch.nn.Module, torch.nn.Module]:
    torch.manual_seed(0)
    return resnet18(3).encoder.eval(), Generator1(8, 32, width=4).eval()


def images() -> Tensor:
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def crafted(engine: FeatureCrafting | LatentCrafting | PublishedCrafting, device: str, steps: int) -> Tensor:
    """The features after so many steps, on the processor again."""
    state = engine.start(images().to(device), torch.Generator().manual_seed(0))
    for _ in range(steps):
        engine.step(state)
    features = engine.released(state)
    return features.detach().cpu()


@pytest.mark.parametrize("kind", ["engine", "latent", "published"])
def test_crafting_is_that_of_the_processor(kind: str) -> None:
    """A tensor left behind on the processor, or random numbers drawn elsewhere, would show here."""

    def make() -> FeatureCrafting | LatentCrafting | PublishedCrafting:
        if kind == "published":
            inner = RestartedInversion(3)
            return PublishedCrafting(*networks(), 8, 1.0, inner=inner, products=3, critic=CRITIC)
        if kind == "latent":
            return LatentCrafting(AttackerModel(*networks()), 1.0, 0.01, INNER, CRITIC)
        return FeatureCrafting(AttackerModel(*networks()), 32, 1.0, inner=INNER, critic=CRITIC)

    expected, found = crafted(make(), "cpu", 3), crafted(make(), "cuda", 3)
    raw = networks()[0](images())
    assert (found - expected).norm() < 0.02 * (expected - raw).norm()


def test_the_fast_precision_is_chosen_where_the_networks_go() -> None:
    """Networks are loaded on the processor, which may have no bfloat16, and craft on the GPU, which has."""
    model = AttackerModel(*networks(), precision="auto").to(torch.device("cuda"))
    assert model.dtype == torch.bfloat16
    exact, z = model.in_full_precision(), torch.randn(2, 8, device="cuda")
    v = torch.randn(2, 8, device="cuda")
    expected = exact(z).d_phi.jvp(v)
    assert (model(z).d_phi.jvp(v) - expected).norm() < 0.03 * expected.norm()


@pytest.mark.parametrize("kind", [WhiteBox, Progressive, Hybrid, BlackBox])
def test_attacks_reconstruct_what_they_do_on_the_processor(kind: type) -> None:
    encoder, prior = networks()
    features = encoder(images()).detach()
    decoder = Decoder(tuple(features.shape[1:]), 32, width=8, blocks=1).eval()
    options = {
        WhiteBox: {"encoder": encoder, "prior": prior, "iterations": 4, "restarts": 2, "precision": "32"},
        Progressive: {
            "encoder": encoder,
            "prior": prior,
            "iterations": 4,
            "restarts": 1,
            "rungs": (3,),
            "precision": "32",
        },
        Hybrid: {"encoder": encoder, "decoder": decoder, "iterations": 3},
        BlackBox: {"decoder": decoder},
    }[kind]
    found = [
        kind(**options).reconstruct(features.to(device), torch.Generator().manual_seed(0)).images.cpu()
        for device in ("cpu", "cuda")
    ]
    torch.testing.assert_close(found[1], found[0], atol=5e-3, rtol=0)
