"""Networks of other artifacts that a module uses and leaves alone."""

from __future__ import annotations

from pytorch_lightning import LightningModule
from torch import nn

from facecrafter.nets.folding import fold_batchnorm
from facecrafter.store import encoder_hash
from lightning_modules.artifacts import load_artifact


def load_encoder(folder: str) -> nn.Module:
    """The encoder of the target network or defence in the artifact `folder`.

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
    return encoder


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


class FeatureReader(LightningModule):
    """A network trained on the features of one encoder; its checkpoint says of which.

    The encoder belongs to its own artifact: it is in neither optimizer nor checkpoint.

    Args:
        encoder: artifact folder of the target network or defence whose features are read.

    Attributes:
        encoder: that network, frozen, batch norms folded.
        encoder_hash: what names it in stores of features.
        encoder_folder: where it came from.
    """

    def __init__(self, encoder: str) -> None:
        super().__init__()
        network = load_encoder(encoder)
        self.encoder_hash = encoder_hash(network)
        self.encoder = Frozen(fold_batchnorm(network))
        self.encoder_folder = encoder

    def get_extra_state(self) -> dict[str, str]:
        """What the state dict holds beside the weights."""
        return {"encoder": self.encoder_hash}

    def set_extra_state(self, state: dict[str, str]) -> None:
        """Compares `state`, from a checkpoint, with the encoder in hand.

        Raises:
            ValueError: the checkpoint was trained on the features of another encoder.
        """
        if state["encoder"] != self.encoder_hash:
            raise ValueError(
                f"this {type(self).__name__} was trained on features of encoder {state['encoder'][:12]}, but "
                f"{self.encoder_folder} now holds encoder {self.encoder_hash[:12]}; train it again"
            )
