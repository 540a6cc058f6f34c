"""Whether what a trial left fits the data, and what the next stage makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from experiments.study.keys import Stage
from facecrafter.randomness import seeded
from facecrafter.store import TensorStore
from lightning_modules.artifacts import load_artifact

OUTPUTS = {"attributes": "n_attributes"}
"""What a target network's loss needs an output for each of."""


def mistakes(stage: Stage, folder: Path, sizes: dict[str, int]) -> Iterator[str]:
    """What is wrong with the outputs of a trial.

    Args:
        folder: where it left them.
        sizes: of the data: image_size, n_attributes, ...
    """
    if stage.command == "fit":
        module = load_artifact(folder, LightningModule)
        images = torch.rand(2, 3, sizes["image_size"], sizes["image_size"])
        yield from _networks(module, images, sizes)
        if (folder / "features").is_dir():
            yield from _features(module, TensorStore.open(folder / "features"), images)
            yield from _repeats(module, images)
    elif stage.command == "attack":
        yield from _images(TensorStore.open(folder / "reconstructions"), sizes["image_size"])


def _networks(module: Any, images: Tensor, sizes: dict[str, int]) -> Iterator[str]:
    size = sizes["image_size"]
    loss = getattr(module, "loss", getattr(module, "task", None))
    encoder, head = getattr(module, "encoder", None), getattr(module, "head", None)
    if isinstance(encoder, nn.Module) and isinstance(head, nn.Module) and loss in OUTPUTS:
        found, wanted = head(encoder(images)).shape[-1], sizes[OUTPUTS[loss]]
        if found != wanted:
            yield f"its head has {found} outputs, but the data has {wanted} {loss}: leave n_outputs out"
    latent = getattr(module, "latent_dim", None)
    if isinstance(latent, int) and isinstance(getattr(module, "network", None), nn.Module):
        found = tuple(module.network(torch.randn(2, latent)).shape)
        if found != (2, 3, size, size):
            yield (
                f"its network makes images {found[1:]}, but the data's are (3, {size}, {size}): "
                "set image_size"
            )


def _features(module: Any, store: TensorStore, images: Tensor) -> Iterator[str]:
    made, expected = tuple(store.meta["shape"]), tuple(module.encoder(images).shape[1:])
    if made != expected:
        yield (
            f"protect returns features {made}, but its encoder makes {expected}: an attack on that encoder "
            "cannot read them; set `encoder` to what makes them"
        )


def _repeats(module: Any, images: Tensor) -> Iterator[str]:
    """Of the classes that come with the project tests say so; of another the features of a run that was
    killed would be others than those of one that was not."""
    if type(module).__module__.startswith("lightning_modules."):
        return
    try:
        with torch.no_grad():
            first, again = (module.protect(images, seeded(0)) for _ in range(2))
    except Exception as error:  # it is anybody's, and went well in its trial
        yield f"protect fails on two pictures: {type(error).__name__}: {error}"
        return
    if not torch.allclose(first, again, rtol=1e-3, atol=1e-4):
        yield "protect gives other features the second time: draw everything random from its argument rng"


def _images(store: TensorStore, size: int) -> Iterator[str]:
    if tuple(store.meta["shape"])[1:] != (3, size, size):
        yield f"it reconstructs images {tuple(store.meta['shape'])}, but the data's are (3, {size}, {size})"
    images = store.load("images")["images"]
    if not torch.isfinite(images).all():
        yield "its reconstructions are not finite: lower its learning rate"
    elif images.min() < 0 or images.max() > 1:
        yield (
            f"its reconstructions reach from {images.min():.2f} to {images.max():.2f}: an attack returns "
            "images in [0, 1]"
        )
