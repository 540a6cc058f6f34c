"""Sheets of images that show what a network has learned so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor
from torchvision.utils import make_grid, save_image

from facecrafter.files import written_whole


class ImageGrid(Callback):
    """Writes a sheet to `images/` every few epochs.

    A module takes part by having `example_images(batch)` -> (N, 3, H, W) in [0, 1]. Faces are private, so the
    sheets stay on this machine.

    Args:
        every_n_epochs: epochs between two sheets.
        columns: images in one row of the sheet.
        upload_images: send the sheets to Weights & Biases too.
    """

    def __init__(self, every_n_epochs: int = 1, columns: int = 8, upload_images: bool = False) -> None:
        self.every_n_epochs, self.columns, self.upload_images = every_n_epochs, columns, upload_images

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        due = batch_idx == 0 and trainer.current_epoch % self.every_n_epochs == 0
        if due and hasattr(pl_module, "example_images"):
            with torch.no_grad():
                images = pl_module.example_images(batch)  # on every rank: they draw the same random numbers
            if trainer.is_global_zero:
                self._show(trainer, make_grid(images.float().cpu(), nrow=self.columns))

    def _show(self, trainer: Trainer, sheet: Tensor) -> None:
        path = Path(trainer.default_root_dir, "images", f"epoch-{trainer.current_epoch:05d}.png")
        with written_whole(path) as file:
            save_image(sheet, file, format="png")
        for logger in trainer.loggers:
            if self.upload_images and isinstance(logger, WandbLogger):
                logger.log_image("examples", [str(path)], step=trainer.global_step)
