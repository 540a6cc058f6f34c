"""When a game counts as settled, and that a training which is asked to ends there."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from artifact import QUIET
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import EarlyStopping
from torch import Tensor
from torch.utils.data import DataLoader

from callbacks import Settling
from callbacks.settling import SETTLED, largest_change


def history(*values: float, name: str = "train/task") -> list[dict[str, float]]:
    return [{"epoch": epoch, name: value} for epoch, value in enumerate(values)]


def test_the_last_quarter_is_compared_with_the_one_before() -> None:
    assert math.isnan(largest_change(history(*[1] * 15)))
    assert largest_change(history(*[4] * 12, 2, 4, 3, 3)) == pytest.approx(0.25)
    assert largest_change(history(*[0] * 16)) == 0
    assert largest_change(history(*[0] * 15, 1)) == math.inf


def test_what_changed_in_the_last_half_counts() -> None:
    """A game that stood still for four of its epochs by chance would end there."""
    moved = [*[4] * 8, *[5] * 2, *[4] * 8]
    assert largest_change(history(*moved)) == pytest.approx(0.25)
    assert largest_change(history(*moved, *[4] * 30)) == 0, "once that is long ago"


@pytest.mark.parametrize("left", [0.9, 0.95, 0.975])
def test_a_slow_decay_has_not_settled_because_a_few_epochs_hardly_show_it(left: float) -> None:
    """At a fortieth an epoch, two epochs and the two before differ by less than a twentieth: taken for
    settled after eight, a rival would be played at a tenth of its strength."""
    values = [left**epoch for epoch in range(1000)]
    epochs = next(n for n in range(8, 1000) if largest_change(history(*values[:n])) <= SETTLED)
    assert values[epochs - 1] < 0.1


def test_a_loss_that_has_all_but_gone_may_double() -> None:
    """Disco learns its people by heart, and would never count as settled."""
    assert largest_change(history(1, *[0.001] * 15, *[0.004] * 16)) == pytest.approx(0.003 / 0.1, rel=0.1)
    assert largest_change(history(1, *[0.2] * 15, *[0.4] * 16)) > SETTLED


def test_turns_are_no_change() -> None:
    """A game that goes to and fro by the turn has settled: each quarter has as many of either."""
    assert largest_change(history(*[1, 3] * 14)) == 0


def test_held_out_people_decide_where_there_are_some() -> None:
    """What is trained on goes on falling by heart."""
    learnt, held_out = history(*range(16, 0, -1)), history(*[5] * 16, name="val/task")
    both = [one | other for one, other in zip(learnt, held_out, strict=True)]
    assert largest_change(learnt) > 0.5
    assert largest_change(both) == 0


def test_what_changes_most_decides() -> None:
    still, moving = history(*[5] * 16), history(*[1] * 12, *[2] * 4, name="train/distance")
    both = [one | other for one, other in zip(still, moving, strict=True)]
    assert largest_change(both) == 1


class Halving(LightningModule):
    """Notes 1 + 4 / 2^epoch, which settles."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.noted: dict[str, list[Tensor]] = {}

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.noted = {"train/task": [torch.tensor(1 + 4 * 0.5**self.current_epoch)]}
        return self.weight

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 1.0)


def fit(folder: Path, epochs: int, *others: Any, ckpt_path: Path | None = None) -> Trainer:
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=[Settling(), *others],
        **QUIET,
    )
    trainer.fit(Halving(), DataLoader(torch.zeros(2, 1)), ckpt_path=ckpt_path, weights_only=True)
    trainer.save_checkpoint(folder / "last.ckpt")
    return trainer


def early() -> EarlyStopping:
    """As docs/fits.md has it."""
    return EarlyStopping("game/change", stopping_threshold=0.05, patience=10**6, strict=False)


def changes(folder: Path) -> list[float]:
    with (folder / "logs" / "settling.csv").open(newline="") as file:
        return [float(line["change"]) for line in csv.DictReader(file)]


def test_a_game_that_has_not_settled_says_so(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Halving ended after 3 epochs before its game had settled .too few"):
        fit(tmp_path, 3)
    assert len(changes(tmp_path)) == 3
    with pytest.warns(UserWarning, match=r"after 16 epochs before .*still changing by 12%"):
        fit(tmp_path / "longer", 16)


def test_lightnings_early_stopping_ends_a_training_that_has_settled(
    tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    trainer = fit(tmp_path, 30, early())
    assert trainer.current_epoch == 20
    *before, last = changes(tmp_path)
    assert last < 0.05
    assert not any(change < 0.05 for change in before)
    assert not [one for one in recwarn if "settled" in str(one.message)]
    # Killed before it had protected, it goes on from its checkpoint: to where it had ended.
    assert fit(tmp_path, 30, early(), ckpt_path=tmp_path / "last.ckpt").current_epoch == 20


def test_a_training_that_goes_on_remembers_its_epochs(tmp_path: Path) -> None:
    fit(tmp_path, 5)
    fit(tmp_path, 17, ckpt_path=tmp_path / "last.ckpt")
    resumed = changes(tmp_path)
    fit(tmp_path / "unbroken", 17)
    assert resumed == pytest.approx(changes(tmp_path / "unbroken"), nan_ok=True)
