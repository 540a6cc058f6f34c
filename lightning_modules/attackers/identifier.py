"""Feature exposure: who is in the picture, read from the features themselves."""

from __future__ import annotations

import copy

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_modules.artifacts import FeatureNetwork, load_artifact
from lightning_modules.checks import fitted_data, refuse_other_people
from lightning_modules.defences.base import Defence
from lightning_modules.networks.target import TargetNetwork
from lightning_modules.training import one_cycle


class FeatureIdentifier(FeatureNetwork):
    """Learns identities from leaked pairs (Enc(X_train), identity) (Crafter, section VI-F).

    Its layers are those of the target's head f with one output per private identity. It starts at f's
    weights, which the cloud has. Whoever has features alone cannot mirror or move the images, so neither is
    done here.

    Args:
        encoder: artifact folder of the target network or defence whose features leaked.
        n_identities: private identities of the data.
        learning_rate: peak of Adam's one-cycle schedule.
    """

    VERSION = 1
    describe = "Has features of known people leaked: a network, trained on them, names who a feature shows."

    def __init__(self, encoder: str, n_identities: int, learning_rate: float = 1e-3) -> None:
        super().__init__(encoder)
        module = load_artifact(encoder, LightningModule)
        if not isinstance(module, TargetNetwork | Defence):
            raise ValueError(
                f"{encoder} holds a {type(module).__name__}, which has no head; name a target network or a "
                "defence"
            )
        self.head = with_outputs(module.head, n_identities).to(memory_format=torch.channels_last)
        self.n_identities = n_identities
        self.learning_rate = learning_rate

    @property
    def network(self) -> nn.Module:
        """Features (N, C, h, w) -> scores (N, n_identities)."""
        return self.head

    def setup(self, stage: str) -> None:
        if data := fitted_data(self, stage):
            reason = "what leaked are features of private people"
            refuse_other_people(data, "private_train", self.n_identities, reason)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        with torch.no_grad():
            features = self.encoder.on(self.device)(batch["image"])
        scores = self(features)
        loss = F.cross_entropy(scores, batch["identity"])
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/accuracy", (scores.argmax(1) == batch["identity"]).float().mean(), prog_bar=True)
        return loss

    def configure_optimizers(self) -> dict:
        optimizer = torch.optim.Adam(self.head.parameters(), self.learning_rate, fused=True)
        return one_cycle(self, optimizer)


def with_outputs(head: nn.Module, outputs: int) -> nn.Module:
    """A trainable copy of a head, its last linear layer replaced by a new one with so many outputs.

    Raises:
        ValueError: it has no linear layer.
    """
    linear = [name for name, layer in head.named_modules() if isinstance(layer, nn.Linear)]
    if not linear:
        raise ValueError(
            f"the head, a {type(head).__name__}, has no linear layer to give {outputs} outputs to"
        )
    # Out of an artifact it comes frozen and in eval mode.
    copied = copy.deepcopy(head).train().requires_grad_(True)
    copied.set_submodule(linear[-1], nn.Linear(copied.get_submodule(linear[-1]).in_features, outputs))
    return copied
