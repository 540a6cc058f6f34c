"""What an attacker's network takes for usual in a feature, so that it fills channels that were withheld."""

from __future__ import annotations

import torch

from facecrafter.nets.withheld import Fill
from lightning_modules.artifacts import FeatureReader
from lightning_modules.training import batches

PICTURES = 1024
"""From about so many, evenly spread over the trainer's data, it is learnt what is usual."""


class FillingReader(FeatureReader):
    """A reader that fills channels of a feature which its sender withheld, before it reads.

    It knows what is usual from the features that it is trained on, or keeps what its start learnt from those
    of the same encoder. Where protected features are learnt from without a start, what the defence often
    withholds is nothing unusual, and is not filled. Layers behind the split are read as they are: nobody
    withholds what f makes of a feature.

    Attributes:
        fill: what fills; a subclass makes it for the shape that it reads.
    """

    fill: Fill

    def on_fit_start(self) -> None:
        super().on_fit_start()
        self._learn_usual()

    @torch.no_grad()
    def _learn_usual(self) -> None:
        """See what is usual; what was seen before, by a start or before the run was killed, stays.

        Every rank sees the same. Nothing is learnt where loaders or ready-made batches are given in place of
        one of the project's data modules.
        """
        loader = self.trainer.datamodule and self.trainer.datamodule.train_dataloader()
        dataset = getattr(loader, "dataset", None)
        if self.layers or self.fill.has_learnt or not hasattr(dataset, "__getitems__"):
            return
        positions = torch.arange(0, len(dataset), max(1, len(dataset) // PICTURES))
        self.fill.learn(self.features_of(batch) for batch in batches(self, dataset, positions))

    def fill_as(self, before: FillingReader) -> None:
        """Take over what is usual to `before`, whose training this one's goes on from.

        Of another encoder's features, such as one with a pruner, something else is usual: it is learnt anew.
        """
        if before.encoder_hash == self.encoder_hash:
            self.fill.load_state_dict(before.fill.state_dict())
