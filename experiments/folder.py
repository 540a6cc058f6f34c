"""The folder of a fit belongs to one fingerprint: of model, data and whatever else changes its numbers."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from pytorch_lightning import LightningDataModule, LightningModule

from experiments.classes import import_class
from experiments.what_counts import Fingerprint, Numbers
from facecrafter.documents import read_json
from facecrafter.files import write_whole
from lightning_modules.checkpoints import LAST, WEIGHTS, checksum_file, load_checkpoint

FINGERPRINT, LOCK = "fingerprint.json", ".lock"
TRACES = (FINGERPRINT, "config.yaml", LAST, "features", "stage.yaml")
"""Any of these says that a folder is a fit's."""
NAMES = {"name", "version", "sub_dir", "filename", "prefix", "project", "id", "experiment_name", "run_name"}
"""Arguments of loggers, callbacks and profilers that become a part of a path."""
OVER_ALL_STEPS = {"total_steps", "T_max"}
"""How the states of schedules that are laid out for the whole training call their length."""


def contents(config: Mapping[str, Any], faces: LightningDataModule) -> dict[str, Any]:
    """What a fit's numbers depend on, readable.

    Args:
        config: of the command, resolved; with the precision that is really used.
        faces: its datamodule, not yet prepared.
    """
    for name, kind in {"model": LightningModule, "data": LightningDataModule}.items():
        import_class(config[name]["class_path"], name, kind)
    found = Numbers("fit", _fingerprint_of(config["data"], faces)).of(config)
    if "fingerprint" in found["data"]:
        # It says all, but not what differs: what it was made from does, and is not hashed.
        given = Numbers("fit", lambda section: None).of({"data": config["data"]})
        found["data"]["given"] = given["data"]["arguments"]
    return json.loads(json.dumps(found))  # as it is read again: the two are compared


def _fingerprint_of(section: Any, faces: Any) -> Fingerprint:
    """The fingerprints of `section`, whose data is `faces`, and of what that wraps."""
    known = []
    while faces is not None and isinstance(section, Mapping):
        known.append((section, faces))
        section, faces = (section.get("init_args") or {}).get("data"), getattr(faces, "data", None)

    def fingerprint(asked: Mapping[str, Any]) -> str | None:
        found = next((data for section, data in known if section is asked), None)
        return found.fingerprint() if hasattr(found, "fingerprint") else None

    return fingerprint


def refuse_names_outside(section: Any, where: str) -> None:
    """See that no name in the configuration of a Trainer leads out of the folder that things named so go to:
    loggers, callbacks and profilers make paths of theirs.

    Raises:
        ValueError: one does.
    """
    if isinstance(section, Mapping):
        for key, value in section.items():
            if key in NAMES and isinstance(value, str) and _leads_out(value):
                raise ValueError(f"{where}.{key} {value!r} leads out of the output: name something in it")
            refuse_names_outside(value, f"{where}.{key}")
    elif isinstance(section, list | tuple):
        for number, value in enumerate(section):
            refuse_names_outside(value, f"{where}[{number}]")


def _leads_out(name: str) -> bool:
    return Path(name).is_absolute() or ".." in Path(name).parts


def fingerprint(content: Mapping[str, Any]) -> str:
    """The sha256 that names a fit. Of data that has a fingerprint, how it was configured does not count."""
    data = {name: value for name, value in content["data"].items() if name != "given"}
    canonical = json.dumps({**content, "data": data}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def differences(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """What differs between two nested structures, as 'path: old → new'."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted(old.keys() | new.keys()):
            yield from differences(old.get(name), new.get(name), f"{where}.{name}" if where else name)
    elif old != new:
        yield f"{where}: {_short(old)} → {_short(new)}"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def refuse_another(folder: Path, content: Mapping[str, Any]) -> None:
    """See that what is in `folder` comes from the fit that `content` describes; nothing is written.

    Raises:
        ValueError: it comes from another one, naming what differs, or from an unknown one.
    """
    file, remedy = folder / FINGERPRINT, "choose another --output, or clear the folder with --overwrite true"
    if not file.is_file():
        if any((folder / name).exists() for name in ("config.yaml", LAST, "features")):
            raise ValueError(f"{folder} holds a fit that does not say what it depends on: {remedy}")
        return
    try:
        found = read_json(file, remedy)
        old, known = found["content"], found["fingerprint"]
        if fingerprint(old) != known:
            raise ValueError("its content has another fingerprint than it says")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is damaged ({error}): {remedy}") from error
    if known == fingerprint(content) or _goes_on(folder, old, content):
        _refuse_checkpoint_of_another(folder, content)
        return
    raise ValueError(f"{folder} belongs to another fit ({'; '.join(differences(old, content))}): {remedy}")


def _refuse_checkpoint_of_another(folder: Path, content: Mapping[str, Any]) -> None:
    """See that the checkpoint was written by this fit, or by it with fewer `max_epochs`.

    Raises:
        ValueError: somebody has put another one there.
    """
    if not (folder / LAST).is_file():
        return
    found = load_checkpoint(folder / LAST)
    epochs = (content["trainer"] or {}).get("max_epochs")
    # A training that was lengthened and cut off before its next epoch still has the shorter one's checkpoint.
    lower = range(found["epoch"] + 1, epochs) if isinstance(epochs, int) else []
    shorter = ({**content, "trainer": {**content["trainer"], "max_epochs": number}} for number in lower)
    if found.get("fingerprint") not in {fingerprint(content), *map(fingerprint, shorter)}:
        raise ValueError(
            f"{folder / LAST} was written by another fit than the one that its folder belongs to: bring back "
            "the folder's own, or train anew with --overwrite true"
        )


def _goes_on(folder: Path, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether the one thing new is that the training takes longer.

    Raises:
        ValueError: so it is, but what is there cannot be gone on from.
    """
    if not (old.get("trainer") and new.get("trainer")):  # who only protects has none
        return False
    epochs = [content["trainer"].get("max_epochs") for content in (old, new)]
    # All else equal, by the fingerprint itself: no second list of what may differ.
    same = {**old, "trainer": {**old["trainer"], "max_epochs": epochs[1]}}
    if fingerprint(same) != fingerprint(new) or None in epochs or epochs[0] >= epochs[1]:
        return False
    if not (folder / LAST).is_file():
        return True
    schedules = load_checkpoint(folder / LAST)["lr_schedulers"]
    what = f"{folder} was trained for max_epochs {epochs[0]}, not {epochs[1]}"
    remedy = "choose another --output, or train anew with --overwrite true"
    if any(OVER_ALL_STEPS & state.keys() for state in schedules):
        raise ValueError(f"{what}, and its learning rate was scheduled over these: {remedy}")
    if (folder / "features").exists():
        raise ValueError(f"{what}, and its features were made after these: {remedy}")
    return True


class Claim:
    """Says in a folder which fit it belongs to. Who fails within the claim before anything is computed gives
    the folder back, so that a corrected fit may have it.

    Args:
        folder: the fit's, locked.
        content: see `contents`.
    """

    def __init__(self, folder: Path, content: Mapping[str, Any]) -> None:
        self.folder = folder
        self.before = {path.name for path in folder.iterdir()}
        text = json.dumps({"fingerprint": fingerprint(content), "content": content}, indent=2)
        write_whole(folder / FINGERPRINT, text)
        for leftover in folder.glob("*.tmp"):
            leftover.unlink()  # of a run that was killed while it wrote

    def __enter__(self) -> None:
        """What is done from here on may fail."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and FINGERPRINT not in self.before and not self._holds_work():
            with suppress(OSError):  # why the fit failed is what has to be told
                self._give_back()

    def _holds_work(self) -> bool:
        """Whether there are checkpoints, weights or protected features."""
        return any(path.suffix in (".ckpt", ".safetensors") for path in self.folder.rglob("*"))

    def _give_back(self) -> None:
        """Delete what this fit wrote, last whose it is; what was there before stays."""
        config = self.folder / "config.yaml"
        for path in (config, checksum_file(config), self.folder / "features", self.folder / "logs"):
            if path.name in self.before:
                continue
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        (self.folder / FINGERPRINT).unlink()


def clear(folder: Path) -> None:
    """Delete what a fit left in `folder`: first what makes it count as done, last whose it is.

    So after a kill at any moment the rest still belongs to the fit it comes from.

    Raises:
        ValueError: no fit left anything there, and what is there is somebody else's.
    """
    others = [path.name for path in folder.iterdir() if path.name != LOCK]
    if others and not any((folder / name).exists() for name in TRACES):
        raise ValueError(
            f"{folder} holds {others[0]!r} and no fit, so nothing in it is deleted: choose another --output"
        )
    for name in ("stage.json", WEIGHTS, LAST, "config.yaml"):
        (folder / name).unlink(missing_ok=True)
        checksum_file(folder / name).unlink(missing_ok=True)
    if (folder / "features").is_dir():
        (folder / "features" / "meta.json").unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.name in (LOCK, FINGERPRINT, "stage.yaml", "stage.log"):
            continue
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    (folder / FINGERPRINT).unlink(missing_ok=True)


def lock(folder: Path) -> TextIO:
    """Keep a second fit out of `folder` until the file that is returned is closed or the process ends.

    Raises:
        ValueError: one is at work there.
    """
    file = (folder / LOCK).open("a+")
    try:
        # The system lets go when the process ends, however it does: no lock is left behind by a kill.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.seek(0)
        raise ValueError(
            f"{folder} is in use by {file.read().strip() or 'another fit'}: wait for it, or choose another "
            "--output"
        ) from error
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file
