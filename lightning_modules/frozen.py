"""Networks of other artifacts that a module uses and leaves alone."""

from __future__ import annotations

from pytorch_lightning import LightningModule
from torch import nn

from facecrafter.nets.folding import fold_batchnorm
from lightning_modules.artifacts import load_artifact


def load_encoder(folder: str) -> nn.Module:
    """The encoder of the target network or defence in the artifact `folder`: frozen, batch norms folded.

    Raises:
        FileNotFoundError: if `folder` is no artifact.
        ValueError: if the module in it has no encoder.
    """
    module = load_artifact(folder, LightningModule)
    encoder = getattr(module, "encoder", None)
    if not isinstance(encoder, nn.Module):
        raise ValueError(
            f"{folder} holds a {type(module).__name__} without encoder; name a target network or a defence"
        )
    return fold_batchnorm(encoder)


class Frozen:
    """Holds a frozen network so that its owner does not see it as a part of itself.

    It stays out of the owner's state dict (its own artifact has its weights), optimizer, DDP buckets and
    train mode. The owner moves it along: `self.encoder.on(self.device)`.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network.eval().requires_grad_(False)

    def on(self, device) -> nn.Module:
        """The network, moved to `device` if it is elsewhere."""
        return self._network.to(device)
