"""Train a LightningModule, then protect with it if it is a Defence.

    python -m experiments.fit --config C.yaml --output DIR

The YAML is flat (`trainer`, `model`, `data`, `seed_everything`, ...); every key is an option too. DIR
receives `config.yaml`, `fingerprint.json`, if the module trains `last.ckpt` (with the optimizer's state, to
go on from), at the end `weights.safetensors` (what others load), `epoch=10.ckpt` for `keep: {epochs: [10]}`,
`logs/`, and for a defence `features/`. A run that was killed goes on from its last epoch when started again,
and protects only what is not on disk; one that failed before it computed anything leaves DIR to a corrected
one. What has another model, data or training than DIR is refused, unless
`--overwrite true` clears DIR first.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn

import torch
from jsonargparse import ArgumentParser, Namespace
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint, ProgressBar
from pytorch_lightning.cli import LightningArgumentParser, LightningCLI
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.rank_zero import rank_zero_info, rank_zero_only

from callbacks import (
    EpochCheckpoints,
    FeatureWriter,
    ImageGrid,
    IterationLog,
    RandomState,
    Settling,
    SharedBatch,
    ShortEpochs,
    TimeLeft,
)
from experiments import folder
from experiments.classes import import_class, with_near_names
from experiments.errors import ends_in_sentences, sentence
from experiments.loggers import (
    LOGGERS,
    enabled,
    finish,
    hyperparameters,
    keep_checkpoints_here,
    prepare_wandb,
    senders,
)
from experiments.overview import ALL, answer  # imports what may be named shortly
from experiments.processes import end_with_rank_0
from experiments.study.derived import fill_in
from experiments.study.precision import in_real_precision
from facecrafter.files import checked_path, for_owner_alone, make_folder
from lightning_modules.artifacts import is_trained
from lightning_modules.checkpoints import (
    LAST,
    PREVIOUS,
    WEIGHTS,
    WholeCheckpointIO,
    checksum_file,
    save_weights,
    write_checked,
)
from lightning_modules.defences.base import Defence

VERSION = 1
"""Raised when what this command computes changes for every module: a study then computes it again."""

# A rank with fewer batches waits for the others when it is done: crafting a batch may take hours.
PATIENCE = timedelta(days=7)
DDP_STRATEGIES = {"ddp": {}, "ddp_find_unused_parameters_true": {"find_unused_parameters": True}}


class FitParser(LightningArgumentParser):
    """LightningCLI's parser; what the data knows (`image_size`, ...) need not be given to the model."""

    _faces: tuple[str, LightningDataModule] | None = None

    def validate(self, namespace: Namespace, *args: Any, **kwargs: Any) -> None:
        """Fill in the model's numbers that are the data's, then check everything."""
        model, data = namespace.get("model"), namespace.get("data")
        if model and data:
            try:
                fill_in(model, self.faces(data))
            except (ValueError, OSError) as error:
                self.refuse(error)
        super().validate(namespace, *args, **kwargs)

    def faces(self, data: Namespace) -> LightningDataModule:
        """The datamodule of a section, not prepared; the same for the same, so that labels are read once."""
        text = json.dumps(data.as_dict(), sort_keys=True, default=str)
        if self._faces is None or self._faces[0] != text:
            parser = ArgumentParser(exit_on_error=False)
            parser.add_subclass_arguments(LightningDataModule, "data")
            self._faces = text, parser.instantiate(Namespace(data=data.clone())).data
        return self._faces[1]

    def refuse(self, error: Exception) -> NoReturn:
        """End with what data or a folder has against a run: how the command is used would be no answer."""
        if os.environ.get("JSONARGPARSE_DEBUG"):  # --debug
            raise error
        self.exit(2, f"error: {sentence(error)}\n")

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End with the message, which names what may have been meant by an argument that no class has."""
        super().error(with_near_names(message), ex)


class FitCLI(LightningCLI):
    """LightningCLI with one output folder for everything a run leaves behind."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--output", type=str, required=True, help="folder for the run's artifacts")
        parser.add_argument("--ckpt_path", type=str | None, default=None, help="default: DIR/last.ckpt")
        parser.add_argument("--overwrite", type=bool, default=False, help="clear the folder of another fit")
        parser.add_argument(
            "--fall_back",
            type=bool,
            default=True,
            help="train in float32 where bf16-mixed would be emulated; false: give up there",
        )
        parser.add_argument("--threads", type=int | None, default=None, help="torch's threads per process")
        parser.add_lightning_class_args(ModelCheckpoint, "checkpoint")
        parser.add_lightning_class_args(ImageGrid, "image_grid")
        parser.add_lightning_class_args(EpochCheckpoints, "keep")
        # Epochs, not steps: under manual optimisation every optimizer's step counts as one.
        parser.set_defaults(
            {
                "checkpoint.filename": "last",
                "checkpoint.every_n_epochs": 1,
                "checkpoint.save_on_train_epoch_end": True,
                "checkpoint.enable_version_counter": False,
            }
        )
        parser.link_arguments("output", "checkpoint.dirpath")
        parser.link_arguments("output", "trainer.default_root_dir")

    def before_instantiate_classes(self) -> None:
        output = Path(self.config.output)
        self._settle_precision()
        self._take_possession(output)
        for logger in as_list(self.config.trainer.logger):
            if "save_dir" in getattr(logger, "init_args", {}):  # true and false have none
                is_store = "MLFlowLogger" in logger.class_path  # its save_dir holds the runs themselves
                logger.init_args.save_dir = str(output / "mlruns" if is_store else output)
            if "WandbLogger" in getattr(logger, "class_path", ""):
                prepare_wandb(output)
        if self.config.threads is not None:
            torch.set_num_threads(self.config.threads)

    def instantiate_classes(self) -> None:
        with self.claim:
            super().instantiate_classes()
        self.datamodule = self.parser.faces(self.config.data)  # which has read its labels

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        given = as_list(config["callbacks"])
        if config["enable_progress_bar"] is not False and not any(isinstance(c, ProgressBar) for c in given):
            given = [*given, TimeLeft()]
        if config["enable_checkpointing"] is False:
            callbacks = [callback for callback in callbacks if not isinstance(callback, Checkpoint)]
        writers = [FeatureWriter(self.fingerprint), IterationLog(), ShortEpochs(), Settling()]
        # RandomState last, but for checkpoints: it sees what all others drew.
        config["callbacks"] = [*given, Fingerprint(self.fingerprint), *callbacks, *writers, SharedBatch()]
        return super()._instantiate_trainer(config, [RandomState()])

    def _settle_precision(self) -> None:
        """Train in what this machine has, or refuse to where another precision was promised."""
        asked = self.config.trainer
        real = in_real_precision({"precision": asked.precision}, asked.accelerator)["precision"]
        if real == asked.precision or not self._trains():
            return
        if not self.config.fall_back:
            self.parser.error(
                f"trainer.precision is {asked.precision}, which this machine would emulate, and the study "
                "was planned on one that has it: run it on such machines, or say trainer.precision: 32-true"
            )
        rank_zero_info(f"{asked.precision} would be emulated here, ten times slower: training in float32")
        asked.precision = real

    def _take_possession(self, output: Path) -> None:
        """Refuse a folder that belongs to another fit or is in use, before anything is written to it."""
        try:
            checked_path(output, "the output")
            if (name := self.config.checkpoint.filename or "last") != Path(name).name or ".." in name:
                raise ValueError(f"checkpoint.filename {name!r} leads out of the output: name a file in it")
            folder.refuse_names_outside(self.config.trainer.as_dict(), "trainer")
            content = self._content()
            self.fingerprint = folder.fingerprint(content)
            if rank_zero_only.rank != 0:
                self.claim = nullcontext()  # it is rank 0's
                return
            if not self.config.overwrite:
                folder.refuse_another(output, content)
            make_folder(output)
            self.lock = folder.lock(output)
            if self.config.overwrite:
                folder.clear(output)
            self.claim = folder.Claim(output, content)
        except (ValueError, OSError) as error:
            self.parser.refuse(error)

    def _content(self) -> dict[str, Any]:
        """What the fit's numbers depend on."""
        config = self.config.clone().as_dict()
        model, accelerator = config["model"], config["trainer"]["accelerator"]
        # A sheet's latents are drawn in between the training's own.
        config["image_grid"] = config["image_grid"]["every_n_epochs"] if self._trains() else None
        model["init_args"] = in_real_precision(model.get("init_args") or {}, accelerator)
        return folder.contents(config, self.parser.faces(self.config.data))

    def _trains(self) -> bool:
        return is_trained(import_class(self.config.model.class_path, "model", LightningModule))

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build a Trainer. This is called twice, so the configuration's own list of callbacks is copied."""
        configured = self.config_init.trainer
        plugins = [*as_list(configured.plugins), WholeCheckpointIO()]
        if not isinstance(configured.logger, bool | None):
            kwargs["logger"] = enabled(as_list(configured.logger))
            for logger in kwargs["logger"]:
                keep_checkpoints_here(logger)
        if configured.strategy in DDP_STRATEGIES:
            kwargs["strategy"] = DDPStrategy(timeout=PATIENCE, **DDP_STRATEGIES[configured.strategy])
        return super().instantiate_trainer(plugins=plugins, **kwargs)

    @rank_zero_only
    def save_config(self) -> None:
        """Write the resolved configuration, from which the artifact is loaded again."""
        write_checked(Path(self.config.output, "config.yaml"), self.parser.dump(self.config))


class Fingerprint(Callback):
    """Notes in every checkpoint which fit it belongs to."""

    def __init__(self, fingerprint: str) -> None:
        self.fingerprint = fingerprint

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["fingerprint"] = self.fingerprint


def as_list(value: Any) -> list[Any]:
    """What the Trainer takes as one thing, several or none."""
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def learn(trainer: Trainer, model: LightningModule, data: LightningDataModule, ckpt_path: str | None) -> None:
    """Train `model`, going on from `ckpt_path` or from the run's own last epoch."""
    output = Path(trainer.default_root_dir)
    last = output / LAST
    if ckpt_path is None and last.is_file():
        ckpt_path = str(last)
    trainer.fit(model, datamodule=data, ckpt_path=ckpt_path, weights_only=True)


@rank_zero_only
def keep_weights(output: Path, model: LightningModule, fingerprint: str) -> None:
    """Write what other modules load, and drop the checkpoint that was kept in case the last failed."""
    save_weights(output / WEIGHTS, model.state_dict(), fingerprint)
    for path in (output / PREVIOUS, checksum_file(output / PREVIOUS)):
        path.unlink(missing_ok=True)


def carry_out(cli: FitCLI) -> None:
    """Train and protect, as far as the module does either."""
    cli.save_config()
    for logger in cli.trainer.loggers:
        logger.log_hyperparams(hyperparameters(cli.config.as_dict()))
    if is_trained(type(cli.model)):
        learn(cli.trainer, cli.model, cli.datamodule, cli.config.ckpt_path)
        keep_weights(Path(cli.config.output), cli.model, cli.fingerprint)
    if isinstance(cli.model, Defence):
        # The engine differentiates while it predicts, and chooses its own precision.
        protector = cli.instantiate_trainer(inference_mode=False, precision="32-true")
        protector.predict(cli.model, datamodule=cli.datamodule, return_predictions=False)
    asked = senders(as_list(cli.config.trainer.logger))
    finish(cli.trainer.loggers, asked, Path(cli.config.output, WEIGHTS))


@for_owner_alone()
def main(args: Sequence[str] | None = None) -> None:
    end_with_rank_0()
    given = sys.argv[1:] if args is None else args
    if shown := answer(given):
        print(shown)
        return
    if ALL in given:
        args = ["--help" if argument == ALL else argument for argument in given]
    cli = FitCLI(
        run=False,
        args=args,
        parser_class=FitParser,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        save_config_callback=None,
        seed_everything_default=0,
        trainer_defaults={
            "devices": 1,  # not all that there are: others may compute there
            "logger": LOGGERS,
        },
    )
    with cli.claim:
        carry_out(cli)


if __name__ == "__main__":
    ends_in_sentences(main)()
