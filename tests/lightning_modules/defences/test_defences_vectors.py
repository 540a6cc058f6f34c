"""Features that are vectors or patch tokens: every defence protects them as maps, which f reads."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from artifact import artifact
from toy_rivals import released, toy_tail
from toy_vectors import ENCODERS, LATENT, OUTPUTS, SIDE, target_artifact

import lightning_modules
from facecrafter.crafter.critic import CriticTraining
from facecrafter.crafter.inversion import InnerProblem
from facecrafter.crafter.reference import RestartedInversion
from lightning_modules import AnswersCodebook, Decoder, Defence, IdentityEraser, Prior, ReducedAnswers
from lightning_modules.defences import tiprdc

IMAGES = torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
KINDS = {name: kind for name, kind in vars(lightning_modules).items() if isinstance(kind, type)}
CRITIC = CriticTraining(steps=1, warmup=1, width=4)
INNER = InnerProblem(first=1, starts=1)
PUBLISHED = {"inner": RestartedInversion(steps=2), "products": 2, "critic": CRITIC}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "AdversarialLearning": {"decoder": "decoder"},
    "ChannelDropout": {},
    "Crafter": {
        "prior": "prior",
        "iterations": 1,
        "inner": INNER,
        "critic": CRITIC,
    },
    "CrafterZ": {"prior": "prior", "iterations": 1, "critic": CRITIC},
    "Decoy": {"prior": "prior", "steps": 2},
    "Erasure": {"prior": "prior", "eraser": "eraser", "inner": INNER, "steps": 2, "layer": "logits"},
    "Disco": {"image_size": SIDE, "width": 4, "blocks": 1},
    "Fawkes": {"mode": "low"},
    "GaussianNoise": {},
    "LowKey": {"iterations": 1},
    "Manifold": {"prior": "prior", "inner": INNER},
    "PublishedCrafter": {"prior": "prior", "iterations": 1, **PUBLISHED},
    "QuantisedDecoy": {"prior": "prior", "codebook": "codebook", "bits": 2},
    "ReducedDecoy": {"prior": "prior", "reduced": "reduced", "rank": OUTPUTS},
    "Tiprdc": {"n_identities": 3, "image_size": SIDE},
    "Undefended": {},
}
DEFENCES = [name for name, kind in KINDS.items() if issubclass(kind, Defence) and kind is not Defence]


@pytest.fixture(scope="module", params=ENCODERS)
def folders(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Artifacts of a target network without maps, and of what defences build on it."""
    folder = tmp_path_factory.mktemp(request.param)
    target = target_artifact(request.param, folder)
    prior = {"latent_dim": LATENT, "image_size": SIDE, "width": 4, "critic_width": 4}
    decoder = {"encoder": target, "image_size": SIDE, "width": 4, "blocks": 1}
    eraser = {"encoder": target, "image_size": SIDE, "rank": 2}
    reduced = {"encoder": target, "image_size": SIDE}
    return {
        "target": target,
        "prior": artifact(folder / "prior", Prior(**prior), **prior),
        "decoder": artifact(folder / "decoder", Decoder(**decoder), **decoder),
        "eraser": artifact(folder / "eraser", IdentityEraser(**eraser), **eraser),
        "reduced": artifact(folder / "reduced", ReducedAnswers(**reduced), **reduced),
        "codebook": artifact(folder / "codebook", AnswersCodebook(**reduced), **reduced),
    }


@pytest.mark.filterwarnings(
    "ignore:.*Jacobian rule", "ignore:.*iteration 1", "ignore:.*does not read what it should"
)
@pytest.mark.parametrize("name", DEFENCES)
def test_a_defence_protects_what_is_no_map(
    name: str, folders: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiprdc, "resnet18_tail", toy_tail)
    torch.manual_seed(0)
    given = {argument: folders.get(str(value), value) for argument, value in ARGUMENTS[name].items()}
    defence = KINDS[name](folders["target"], **given).eval()
    features = released(defence, IMAGES)
    assert features.shape == defence.encoder(IMAGES).shape
    assert features.ndim == 4
    assert defence.head(features).shape == (4, OUTPUTS)
