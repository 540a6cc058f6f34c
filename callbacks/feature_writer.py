"""Protected features go to disk batch by batch: memory holds one, and a killed run loses at most one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from facecrafter.store import TensorStore


class FeatureWriter(Callback):
    """Writes what `predict_step` returns into the store `features/` of the run's folder.

    The module's `predict_step` returns {'number': int, 'row': (N,), 'features': (N, C, h, w)}, or None for a
    batch without images; its `meta()` names the encoder. Stored batches are not protected again.

    Args:
        fingerprint: of the fit that protects, noted in the store: another one is refused there.
    """

    CHANGES_NUMBERS = False

    def __init__(self, fingerprint: str | None = None) -> None:
        self.fingerprint = fingerprint

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.path = Path(trainer.default_root_dir, "features")
        self.store: TensorStore | None = None
        self.stored: set[int] = set()
        if (self.path / "meta.json").is_file():
            self.stored = TensorStore.open(self.path).numbers()
        self.dataset = trainer.predict_dataloaders.dataset
        self.dataset.skip = self.stored

    def on_predict_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: dict[str, Any], *_: int
    ) -> None:
        # Workers copy the dataset before `skip` is known, so a stored batch may still arrive decoded.
        if batch["number"] in self.stored:
            batch["image"] = None

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: dict[str, Any] | None,
        batch: dict[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if outputs is None:
            return
        features = outputs["features"].cpu()
        if self.store is None:
            self.store = TensorStore.create(self.path, self._meta(features, pl_module))
        self.store.write(outputs["number"], row=outputs["row"].cpu(), features=features)

    def _meta(self, features: Tensor, pl_module: LightningModule) -> dict[str, Any]:
        """Describe the store; every rank and every resumed run says the same, or the store refuses."""
        return {
            "kind": "features",
            "shape": list(features.shape[1:]),
            "dtype": str(features.dtype).removeprefix("torch."),
            "batches": len(self.dataset),
            **({"fingerprint": self.fingerprint} if self.fingerprint else {}),
            **pl_module.meta(),
        }
