"""The folders in which stages are run: what they leave, done markers, logs and what they cost."""

from __future__ import annotations

import math
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import yaml

from experiments.machine import made_with
from experiments.study.keys import Stage, substitute
from experiments.study.marker import read_marker, verified, write_marker
from experiments.study.mirror import CONFIG, MARKER, Mirror
from facecrafter.files import write_whole

LOG = "stage.log"
CUT_OFF = "cut_off.txt"
"""In the folder of a stage that is not done: seconds of its runs that did not come to their end."""
LEFT = re.compile(r"left=(\d+):(\d\d):(\d\d)|\[[\d:]+<(?:(\d+):)?(\d\d):(\d\d)")


@dataclass(frozen=True)
class Estimate:
    """What a stage will take, as a trial of it says."""

    seconds: float
    megabytes: float


@dataclass(frozen=True)
class Artifacts:
    """Where the stages of a study are, and which of them are done.

    Attributes:
        output: the study's folder.
        keys: the key of every stage.
        shared: where artifacts are, if not in the study's folder.
        mirror: the copies at a URL, where machines share no folder.
        estimates: what the stages will take, of those that were tried.
    """

    output: Path
    keys: Mapping[str, str]
    shared: Path | None = None
    mirror: Mirror | None = None
    estimates: dict[str, Estimate] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The folder that holds one folder for each stage."""
        return self.shared or self.output / "artifacts"

    def folder(self, name: str) -> Path:
        """The stage's artifact folder, absolute."""
        # The key is a part of the name: stages of an older configuration stay, and are found again with it.
        return (self.root / f"{name}-{self.keys[name][:12]}").absolute()

    def is_done(self, name: str) -> bool:
        """Whether the stage was finished with this key; its marker is written last."""
        folder = self.folder(name)
        return (folder / MARKER).is_file() or bool(self.mirror and self.mirror.has(folder))

    def fetch(self, name: str) -> None:
        """See that what a finished stage left is in its folder."""
        if self.mirror:
            self.mirror.pull(self.folder(name))

    def verify(self, names: Iterable[str]) -> None:
        """See that these stages, if done and here, are what they were then.

        Raises:
            FileNotFoundError, ValueError: naming the file and the remedy.
        """
        for name in names:
            if (self.folder(name) / MARKER).is_file():
                verified(self.folder(name))

    def discard(self, name: str) -> None:
        """Remove everything the stage left behind; killed meanwhile, nothing of it is taken for the stage."""
        folder = self.folder(name)
        if self.mirror:
            self.mirror.remove(folder)
        # A rename is one step; the deletion after it may be cut off at any file.
        trash = folder.with_name(f".{folder.name}.discarded")
        shutil.rmtree(trash, ignore_errors=True)  # of one that was killed
        if folder.exists():
            folder.rename(trash)
            shutil.rmtree(trash)

    def config(self, name: str) -> Path:
        """The YAML that the stage's command is run with."""
        return self.folder(name) / CONFIG

    def begin(self, stage: Stage) -> None:
        """Make the stage's folder ready for a run: its configuration in it, an empty log, and how long runs
        before it took, whose work this one may go on from."""
        folder = self.folder(stage.name)
        if before := self._cut_off(stage.name):
            write_whole(folder / CUT_OFF, str(before))
        config = substitute(stage.config, lambda name: str(self.folder(name)))
        output = folder / "reconstructions" if stage.command == "attack" else folder
        text = yaml.safe_dump({**config, "output": str(output)}, sort_keys=False)
        write_whole(self.config(stage.name), text)
        self.log(stage.name).write_bytes(b"")  # that of an earlier try says nothing of this one
        if self.mirror:
            self.mirror.push(folder)

    def _cut_off(self, name: str) -> float:
        """Seconds of the stage's runs so far, none of which has finished it: each from its configuration,
        which is written when it begins, to the last line that it has printed."""
        before = self._noted(name)
        try:
            last = self.log(name).stat().st_mtime - self.config(name).stat().st_mtime
        except FileNotFoundError:
            return before
        return round(before + max(0.0, last), 1)

    def _noted(self, name: str) -> float:
        try:
            noted = float((self.folder(name) / CUT_OFF).read_text())
        except (FileNotFoundError, ValueError):  # a damaged note costs a figure, not the study
            return 0.0
        return noted if 0 <= noted < math.inf else 0.0

    def finish(self, stage: Stage, seconds: float) -> None:
        """Mark the stage as done.

        Args:
            seconds: of the run that finished it; the marker adds those of runs that were cut off before.
        """
        folder, before = self.folder(stage.name), self._noted(stage.name)
        (folder / CUT_OFF).unlink(missing_ok=True)
        marker = {
            "stage": stage.name,
            "command": stage.command,
            "key": self.keys[stage.name],
            "seconds": round(before + seconds, 1),
            "megabytes": round(_size(folder) / 1e6, 1),
            "made_with": made_with(),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        # Last of all: whoever finds the marker may rely on everything beside it.
        write_marker(folder, marker)
        if self.mirror:
            self.mirror.push(folder)

    def earlier(self, name: str) -> dict[str, float]:
        """What the stage's latest finished run cost (seconds, megabytes), whatever its key; or empty."""
        # The whole name: `crafter` must not find the folders of `crafter.beta=1`.
        pattern = re.compile(re.escape(name) + r"-[0-9a-f]{12}")
        folders = [path for path in self.root.glob("*") if pattern.fullmatch(path.name)]
        markers = [path / MARKER for path in folders if (path / MARKER).is_file()]
        if not markers:
            return {}
        return read_marker(max(markers, key=lambda path: path.stat().st_mtime).parent)

    def expected_seconds(self, stage: Stage) -> float | None:
        """How long the stage will take: as its trial says, else as last time, else as guessed."""
        if stage.name in self.estimates:
            return self.estimates[stage.name].seconds
        guess = None if stage.minutes is None else stage.minutes * 60
        return self.earlier(stage.name).get("seconds", guess)

    def expected_megabytes(self, stage: Stage) -> float | None:
        """How much disk the stage will take: as its trial says, else as last time, else the configuration's
        guess."""
        if stage.name in self.estimates:
            return self.estimates[stage.name].megabytes
        return self.earlier(stage.name).get("megabytes", stage.megabytes)

    def log(self, name: str) -> Path:
        """What the stage printed."""
        return self.folder(name) / LOG

    def seconds_left(self, name: str) -> float | None:
        """The time left that the running stage's progress bar shows, None if it shows none."""
        if not self.log(name).is_file():
            return None
        with self.log(name).open("rb") as file:
            # The end alone: a progress bar writes megabytes into its log.
            file.seek(max(0, self.log(name).stat().st_size - 4096))
            shown = LEFT.findall(file.read().decode(errors="replace"))
        if not shown:
            return None
        hours, minutes, seconds = (
            int(a or b or 0) for a, b in zip(shown[-1][:3], shown[-1][3:], strict=True)
        )
        return 3600 * hours + 60 * minutes + seconds


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
