"""Artifacts at a URL, for machines that share no folder: copied to where they are needed, and back.

    python -m experiments.study.mirror --url s3://bucket/study --folder ROOT/NAME --inputs ROOT/A ROOT/B \\
        -- attack --config ROOT/NAME/stage.yaml

is what a worker runs in place of a stage's command where `experiments.study --artifacts` names a URL. Any
file system of fsspec will do; its own packages (s3fs, gcsfs, ...) are the user's to install. A stage's folder
has the same path on every machine, since its configuration names others by their paths.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs

from facecrafter.files import for_owner_alone, make_folder

MARKER = "stage.json"
"""Says that a folder is whole: it goes last, either way."""
CONFIG = "stage.yaml"
"""What a stage's command is run with."""


@dataclass(frozen=True)
class Mirror:
    """The copies of artifact folders below a URL, each under its folder's name."""

    url: str

    @cached_property
    def _place(self) -> tuple[Any, str]:
        return url_to_fs(self.url)

    def has(self, folder: Path) -> bool:
        """Whether a finished copy of the folder is there."""
        system, root = self._place
        return bool(system.exists(f"{root}/{folder.name}/{MARKER}"))

    def push(self, folder: Path) -> None:
        """Copy the folder to the URL."""
        system, root = self._place
        for file in _marker_last(path for path in folder.rglob("*") if path.is_file()):
            target = f"{root}/{folder.name}/{file.relative_to(folder).as_posix()}"
            system.makedirs(target.rpartition("/")[0], exist_ok=True)
            system.put_file(str(file), target)

    def pull(self, folder: Path) -> None:
        """Copy what is at the URL into the folder, unless it is here and whole."""
        system, root = self._place
        source = f"{root}/{folder.name}"
        if (folder / MARKER).is_file() or not system.exists(source):
            return
        files = {folder / Path(name).relative_to(source): name for name in system.find(source)}
        if outside := [name for name in files.values() if ".." in Path(name).parts]:
            raise ValueError(f"{outside[0]!r} at {self.url} leads out of {folder}: remove it there")
        for file in _marker_last(files):
            make_folder(file.parent)
            # Under another name until it is whole: a download that is cut off leaves no file that looks
            # finished.
            partial = file.with_name(f"{file.name}.partial")
            system.get_file(files[file], str(partial))
            partial.replace(file)

    def remove(self, folder: Path) -> None:
        """Remove the copy, first what says that it is whole."""
        system, root = self._place
        copy = f"{root}/{folder.name}"
        if system.exists(f"{copy}/{MARKER}"):
            system.rm_file(f"{copy}/{MARKER}")
        if system.exists(copy):
            system.rm(copy, recursive=True)

    def wrapped(
        self, folder: Path, inputs: Iterable[Path], command: str, arguments: Iterable[str]
    ) -> list[str]:
        """The arguments with which this module carries out a stage's command on any machine."""
        places = ["--url", self.url, "--folder", str(folder), "--inputs", *map(str, inputs)]
        return [*places, "--", command, *arguments]


def _marker_last(files: Iterable[Path]) -> list[Path]:
    return sorted(files, key=lambda path: (path.name == MARKER, path))


@for_owner_alone()
def main(args: list[str] | None = None) -> None:
    given = sys.argv[1:] if args is None else args
    split = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", required=True, help="where the copies are")
    parser.add_argument("--folder", type=Path, required=True, help="of the stage")
    parser.add_argument("--inputs", type=Path, nargs="*", default=[], help="folders that it builds on")
    options = parser.parse_args(given[:split])
    command, *arguments = given[split + 1 :]
    mirror = Mirror(options.url)
    for folder in options.inputs:
        mirror.pull(folder)
    if not (options.folder / CONFIG).is_file():  # else this machine may be ahead of the copy
        mirror.pull(options.folder)
    # The stage's own process: its end, however it comes, must not keep what it made from being sent.
    ended = subprocess.run([sys.executable, "-m", f"experiments.{command}", *arguments], check=False)
    mirror.push(options.folder)  # of a stage that failed, what it can go on from
    sys.exit(ended.returncode)


if __name__ == "__main__":
    main()
