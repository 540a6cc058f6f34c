"""Artifact folders: what a fit leaves behind, and how other modules open it and use what is in it, frozen."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from jsonargparse import ArgumentError, ArgumentParser
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from facecrafter.documents import read_yaml
from facecrafter.nets.folding import fold_batchnorm
from facecrafter.nets.target import feature_shape
from facecrafter.nets.through_head import ThroughHead
from facecrafter.nets.weights import check_finite
from facecrafter.store import encoder_hash
from lightning_modules import parsing  # noqa: F401 - it says how jsonargparse reads
from lightning_modules.checkpoints import LAST, WEIGHTS, load_checkpoint, load_weights, verify

CONFIG_FILE = "config.yaml"

T = TypeVar("T", bound=LightningModule)


def load_artifact(path: str | Path, expected: type[T]) -> T:
    """The module that a fit wrote into the folder `path`, in eval mode and frozen.

    Its weights are those in weights.safetensors, or, as long as the training goes on, in last.ckpt. `path`
    may also be one checkpoint of that folder, such as `runs/a1/epoch=10.ckpt`.
    The checkpoint may come from others: it is loaded with `weights_only=True`. The class comes from
    config.yaml, which like any configuration names code to import, so it must be a subclass of `expected`.

    Raises:
        FileNotFoundError: if the folder or its config.yaml is missing.
        ValueError: if it holds another kind of module, or a checkpoint that is damaged or does not fit it.
    """
    path = Path(path)
    folder, checkpoint = (path.parent, path) if path.suffix == ".ckpt" else (path, path / LAST)
    if path == folder and (path / WEIGHTS).is_file():
        checkpoint = path / WEIGHTS
    config_file = folder / CONFIG_FILE
    if not config_file.is_file():
        raise FileNotFoundError(
            f"{folder} is no artifact: it has no {CONFIG_FILE}. Run experiments.fit --output {folder}"
        )
    module = _instantiate(config_file, expected)
    if checkpoint.is_file():
        is_whole = checkpoint.suffix == ".ckpt"
        state = load_checkpoint(checkpoint)["state_dict"] if is_whole else load_weights(checkpoint)
        try:
            module.load_state_dict(state)
            check_finite(state, checkpoint)
        except RuntimeError as error:
            raise ValueError(
                f"{checkpoint} does not fit the module that {config_file} describes: {error}"
            ) from error
    elif is_trained(type(module)) or checkpoint == path:
        raise FileNotFoundError(
            f"{checkpoint} is missing: the training was not finished, or did not keep this epoch. "
            "Run it again to resume"
        )
    return module.eval().requires_grad_(False)


def is_trained(module: type[LightningModule]) -> bool:
    """Whether the module learns: it overrides `training_step`."""
    return module.training_step is not LightningModule.training_step


def _instantiate(config_file: Path, expected: type[T]) -> T:
    verify(config_file)
    content = read_yaml(config_file, "run the fit again, which writes it")
    if not isinstance(content, dict) or "model" not in content:
        raise ValueError(f"{config_file} describes no model; run the fit again, which writes it")
    _refuse_another_class(content["model"], expected, config_file)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(expected, "model")
    try:
        config = parser.parse_object({"model": content["model"]})
    except ArgumentError as error:
        raise ValueError(f"{config_file} does not describe a {expected.__name__}: {error}") from error
    module: T = parser.instantiate(config).model
    return module


def _refuse_another_class(model: Any, expected: type, config_file: Path) -> None:
    """What cannot be imported is left to the parser, which says so."""
    module, _, name = str(model.get("class_path") if isinstance(model, dict) else model).rpartition(".")
    found = getattr(sys.modules.get(module), name, None)
    if isinstance(found, type) and not issubclass(found, expected):
        raise ValueError(
            f"{config_file.parent} holds a {name}, not a {expected.__name__}; name the folder of one"
        )


def load_encoder(folder: str) -> nn.Module:
    """The encoder of the target network or defence in the artifact `folder`.

    Raises:
        FileNotFoundError: if `folder` is no artifact.
        ValueError: if the module in it has no encoder.
    """
    return _part(folder, "encoder")


def load_through_head(folder: str, layers: Mapping[str, float]) -> ThroughHead:
    """What f, the head of the target network or defence in the artifact `folder`, makes of a feature there.

    Raises:
        FileNotFoundError: if `folder` is no artifact.
        ValueError: if the module in it has no head, or its head no such layer.
    """
    return ThroughHead(_part(folder, "head"), layers)


def _part(folder: str, name: str) -> nn.Module:
    """What the module in the artifact `folder` calls `name`.

    Raises:
        FileNotFoundError: `folder` is no artifact.
        ValueError: the module has no such part.
    """
    module = load_artifact(folder, LightningModule)
    part = getattr(module, name, None)
    if not isinstance(part, nn.Module):
        raise ValueError(
            f"{folder} holds a {type(module).__name__} without {name}; name a target network or a defence"
        )
    return part


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
        layers: where to read them: behind the split, in these layers of its head f, with these weights; see
            facecrafter.nets.through_head. Without them, what is read is the feature itself.

    Attributes:
        encoder: that network, frozen, batch norms folded.
        encoder_hash: what names it in stores of features.
        encoder_folder: where it came from.
    """

    def __init__(self, encoder: str, layers: Mapping[str, float] | None = None) -> None:
        super().__init__()
        network = load_encoder(encoder)
        # Before the fold: a store names the encoder by its weights as they were trained.
        self.encoder_hash = encoder_hash(network)
        self.encoder = Frozen(fold_batchnorm(network))
        self.encoder_folder = encoder
        self.layers = dict(layers or {})
        through = fold_batchnorm(load_through_head(encoder, layers)) if layers else nn.Identity()
        self._through_head = Frozen(through)

    def features_of(self, batch: dict[str, Tensor]) -> Tensor:
        """Features (N, C, h, w): the batch's own, as after an attacker protected images, or of its images."""
        return batch["features"] if "features" in batch else self.raw_features_of(batch)

    def raw_features_of(self, batch: dict[str, Tensor]) -> Tensor:
        """The images' own features (N, C, h, w), to which no defence did anything."""
        features: Tensor = self.encoder.on(self.device)(batch["image"])
        return features

    def read(self, features: Tensor) -> Tensor:
        """h(F) of features F (N, C, h, w): one map per image, (N, D, 1, 1) where it has no sides."""
        read: Tensor = self._through_head.on(features.device)(features)
        return read

    def shape_read(self, image_size: int) -> tuple[int, int, int]:
        """That of h(F) for images of this side."""
        through = nn.Sequential(self.encoder.on(self.device), self._through_head.on(self.device))
        return feature_shape(through, image_size)

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


class FeatureNetwork(FeatureReader):
    """A reader that is one network, whose layout in memory is channels_last."""

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """What an attack uses, and what `forward` computes."""

    def forward(self, features: Tensor) -> Tensor:
        """Features (N, C, h, w), or h of them, as `network` takes them -> what it makes of them."""
        return self.network(features.contiguous(memory_format=torch.channels_last))


R = TypeVar("R", bound=FeatureReader)


def load_reader(folder: str, expected: type[R], encoder: str) -> R:
    """The network in the artifact `folder` that reads features of the encoder whose hash is `encoder`.

    Raises:
        ValueError: it was trained on the features of another encoder, and means nothing on these.
    """
    reader = load_artifact(folder, expected)
    if reader.encoder_hash != encoder:
        raise ValueError(
            f"the {expected.__name__} in {folder} reads features of encoder {reader.encoder_hash[:12]}, not "
            f"of the target's, {encoder[:12]}; train it with encoder set to the target's folder"
        )
    return reader
