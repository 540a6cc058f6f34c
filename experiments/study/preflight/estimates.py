"""What a study will take, from what its trials took."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.study.artifacts import Artifacts, Estimate
from experiments.study.data import StudyData, made
from experiments.study.keys import references
from experiments.study.preflight.stopwatch import FILE, sample_of
from experiments.study.preflight.trials import Trial
from facecrafter.store import TensorStore

FEW = 20
"""Pictures that are decoded to see how long it takes."""
PER_IMAGE = ("features", "reconstructions")
"""Folders whose size grows with the number of images."""


class Estimates:
    """Scales what trials took up to their stages.

    Args:
        trials: those that were carried out, by stage.
        artifacts: where they left everything.
        seconds: that each took.
    """

    def __init__(
        self, trials: Mapping[str, Trial], artifacts: Artifacts, seconds: Mapping[str, float]
    ) -> None:
        self.trials, self.artifacts, self.seconds = trials, artifacts, seconds
        self.data = StudyData({})

    def of(self, name: str) -> Estimate:
        """What the stage that was tried under this name will take."""
        by_command = {
            "fit": self._fit,
            "attack": self._attack,
            "protect": self._protect,
            "study.data": self._decoding,
        }
        command = self.trials[name].stage.command
        seconds = by_command.get(command, self._in_proportion)(name)
        return Estimate(seconds, self._megabytes(name))

    def _fit(self, name: str) -> float:
        trial, seen = self.trials[name], self._stopwatch(name)
        if not seen:
            return self.seconds[name]
        tried = [time for epoch in seen["train"] for time in epoch]
        # What is neither a batch nor a protected image: imports, decoding, writing. It does not grow with
        # epochs.
        rest = self.seconds[name] - sum(tried) - sum(seen["val"]) - sum(seen["predict"])
        epochs = sum(trial.phases)
        training = sum(
            count * self._batches(trial, seen["batches"]) * _warm(epoch)
            for count, epoch in zip(trial.phases, seen["train"], strict=False)
        )
        checking = epochs * seen["val_batches"] * _mean(seen["val"])
        return max(rest, 0.0) + training + checking + self._protecting(name) * self._images(name)[0]

    def _batches(self, trial: Trial, every: float) -> float:
        limit = trial.stage.config["trainer"].get("limit_train_batches")
        if limit is None:
            return every
        return min(limit, every) if isinstance(limit, int) else limit * every

    def _protecting(self, name: str) -> float:
        """Seconds for each image that a defence protects."""
        trial, seen = self.trials[name], self._stopwatch(name)
        if not seen.get("predict"):
            return 0.0
        spent = sum(seen["predict"])
        if seen["iteration"] and trial.work > 1:
            done = trial.stage.config["model"]["init_args"].get("iterations", 1)
            # Iterations alone grow with a defence's work; what comes before them, an inversion say, does not.
            missing = done * (trial.work - 1) * len(seen["predict"])
            spent += missing * _mean(seen["iteration"])
        else:
            spent *= trial.work
        return spent / self._images(name)[1]

    def _protect(self, name: str) -> float:
        (defence,) = references(self.trials[name].stage.config["defence"])
        return self._start() + self._protecting(defence) * self._images(name)[0]

    def _attack(self, name: str) -> float:
        trial = self.trials[name]
        store = TensorStore.open(self.artifacts.folder(name) / "reconstructions")
        each = store.read(max(store.numbers()))["seconds"][-1].item()  # by then all is warm
        spent = store.load("seconds")["seconds"].sum().item()
        return max(self.seconds[name] - spent, 0.0) + each * trial.work * self._images(name)[0]

    def _decoding(self, name: str) -> float:
        """What is not cached may be: the data's own trial has had to import everything first."""
        # One of its own: whoever decodes may need what reading the labels has left on it.
        sample = sample_of(made(self.trials[name].stage.config["data"], name))
        if sample is None:
            return self.seconds[name]
        splits = sample._planned[1]
        few = splits.take(np.arange(min(FEW, len(splits))))
        began = time.monotonic()
        decoded = sum(1 for _ in sample.pictures(few))
        each = (time.monotonic() - began) / decoded
        return self._start() + each * len(sample.whole.splits)

    def _in_proportion(self, name: str) -> float:
        full, tried = self._images(name)
        start = self._start()
        return start + max(self.seconds[name] - start, 0.0) * full / tried

    def _start(self) -> float:
        """Until a command begins to work."""
        # The shortest trial did next to nothing but import.
        return min(self.seconds.values())

    def _images(self, name: str) -> tuple[int, int]:
        """How many images the stage works on, and how many its trial."""
        config = self.trials[name].stage.config
        if "data" not in config:
            (first, *_) = sorted(references(config["features"]))
            return self._images(first)
        sample = sample_of(self.data.made(config["data"], name))
        if sample is None:
            return 1, 1
        return sample.full_protected(), sample.sampled_protected()

    def _megabytes(self, name: str) -> float:
        folder, (full, tried) = self.artifacts.folder(name), self._images(name)
        total = 0.0
        for path in folder.rglob("*"):
            if path.is_file() and path.name != FILE:
                top = path.relative_to(folder).parts[0]
                times = full / tried if top in PER_IMAGE else 1.0
                times = self.trials[name].kept if top.startswith("epoch=") else times
                total += times * path.stat().st_size
        return total / 1e6

    def _stopwatch(self, name: str) -> dict[str, Any]:
        file = Path(self.artifacts.folder(name), FILE)
        return json.loads(file.read_text()) if file.is_file() else {}


def _mean(seconds: list[float]) -> float:
    return sum(seconds) / len(seconds) if seconds else 0.0


def _warm(seconds: list[float]) -> float:
    """The mean without the first, in which everything is set up."""
    return _mean(seconds[1:] or seconds)
