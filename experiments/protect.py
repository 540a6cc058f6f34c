"""Protect further images with a defence that was fitted before, or the same images once more.

    python -m experiments.protect --config C.yaml

    defence: artifacts/crafter     # what experiments.fit left behind; nothing is trained again
    data: {class_path: datamodules.SyntheticFaces, init_args: {predict_role: public, predict_limit: 400}}
    query: 0                       # 1, 2, ...: the same images again, with other random numbers
    output: artifacts/public       # receives features/ and logs/

An attacker who queries a defence with images of his own reads these features (A1), or averages several
queries of one image (A3); in the development scenario the cloud trains with them. A run that was killed and
is started again protects only what is not on disk.

    python -m experiments.protect --images DIR --defence RUN --output F

protects every photograph in a folder, or a single one, without labels or roles: see experiments.photographs.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import auto_cli
from pytorch_lightning import Trainer

from callbacks import FeatureWriter, IterationLog, TimeLeft
from datamodules.faces import FaceDataModule
from experiments.errors import ends_in_sentences
from experiments.photographs import photographs
from experiments.processes import end_with_rank_0
from facecrafter.files import checked_path, for_owner_alone
from lightning_modules.artifacts import load_artifact
from lightning_modules.defences.base import Defence

VERSION = 1
"""Raised when what this command computes changes: a study then computes it again."""


def run(
    data: FaceDataModule,
    defence: Path,
    output: Path,
    query: int = 0,
    trainer: dict[str, Any] | None = None,
) -> None:
    """Write the store `output`/features; for photographs without labels see `--images . --help`.

    Args:
        data: the images of its `predict_role`, the first `predict_limit` of them, are protected.
        defence: artifact folder of the defence.
        output: folder that receives features/ and logs/.
        query: how often the same images were protected before.
        trainer: arguments of Lightning's Trainer, such as `accelerator` and `devices`.
    """
    checked_path(output, "the output")
    module = load_artifact(defence, Defence)
    module.query = query
    trainer = {"devices": 1} | (trainer or {})
    bar = [TimeLeft()] if trainer.get("enable_progress_bar") is not False else []
    protector = Trainer(
        **trainer,
        default_root_dir=output,
        callbacks=[*bar, FeatureWriter(), IterationLog()],
        logger=False,
        inference_mode=False,  # Crafter differentiates while it predicts
    )
    protector.predict(module, datamodule=data, return_predictions=False)


@for_owner_alone()
def main(args: Sequence[str] | None = None) -> None:
    end_with_rank_0()
    given = sys.argv[1:] if args is None else args
    of_photographs = any(argument.partition("=")[0] == "--images" for argument in given)
    auto_cli(photographs if of_photographs else run, args=args, as_positional=False)


if __name__ == "__main__":
    ends_in_sentences(main)()
