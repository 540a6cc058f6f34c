"""The one way in which weights from elsewhere are read: tensors alone, bounded, refused in one sentence."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

# A file from elsewhere must not fill the memory. ViT-L has 1.2 GB.
MOST_BYTES = 2**32
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "module")
_PREFIXES = ("module.", "model.", "_orig_mod.")
_NAMED = 3


def read_state_dict(
    path: str | Path, what: str = "weights", most_bytes: int = MOST_BYTES
) -> dict[str, Tensor]:
    """The names and tensors in a file of torch.save or safetensors, out of the dictionaries around them.

    Args:
        path: what was downloaded or trained elsewhere.
        what: it should hold, for the refusals.
        most_bytes: of the file, unpacked, and of its tensors, of which it may say that few numbers repeat.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds no state dict; says what it is instead.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no {what} at {path}; name the file of a state dict")
    _refuse_other_kinds(path, what)
    _refuse_more(_unpacked(path), path, what, most_bytes)
    try:
        content = _read(path)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} does not hold tensors alone, so it is not opened: it could run code; where it comes "
            f"from, save its state_dict() with torch.save ({_first_line(error)})"
        ) from error
    except (RuntimeError, EOFError, KeyError, ValueError, OSError, SafetensorError) as error:
        reason = "" if isinstance(error, KeyError) else f": {_first_line(error)}"  # of it, that is a byte
        raise ValueError(f"{path} is damaged or no file of torch.save{reason}") from error
    state = _unwrapped(content, path)
    _refuse_more(sum(one.numel() * one.element_size() for one in state.values()), path, what, most_bytes)
    return state


def load_into(module: nn.Module, state: Mapping[str, Tensor], source: str | Path) -> None:
    """Loads a state dict into `module`; every name and shape must agree, but for a prefix as of DataParallel.

    Raises:
        ValueError: it does not fit, or a number in it is not finite; names `source` and the parameters.
    """
    state = _without_prefix(state, module.state_dict().keys())
    own = module.state_dict()
    faults = [
        _listed("lacks", own.keys() - state.keys() - _extra(own)),
        _listed("has beside them", state.keys() - own.keys() - _optional(module)),
        _listed(
            "has in another shape",
            [
                f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}"
                for name in own.keys() & state.keys()
                if isinstance(own[name], Tensor) and state[name].shape != own[name].shape
            ],
        ),
    ]
    if any(faults):
        raise ValueError(
            f"{source} does not fit the {len(own)} parameters of {type(module).__name__}: it "
            f"{', '.join(fault for fault in faults if fault)}"
        )
    check_finite(state, source)
    module.load_state_dict(state, strict=False)


def check_finite(state: Mapping[str, Any], source: str | Path) -> None:
    """
    Raises:
        ValueError: naming the tensors that hold NaN or infinity.
    """
    bad = [name for name, value in state.items() if isinstance(value, Tensor) and not value.isfinite().all()]
    if bad:
        raise ValueError(f"{source} {_listed('holds numbers that are not finite in', bad)}: train it again")


def _refuse_other_kinds(path: Path, what: str) -> None:
    with path.open("rb") as file:
        start = file.read(512).lstrip()
    if not start:
        raise ValueError(f"{path} is empty; download the {what} again")
    if start.startswith(b"version https://git-lfs"):
        raise ValueError(f"{path} is a git-lfs pointer, not the {what} themselves; run `git lfs pull` there")
    if start[:1] == b"<" or b"<html" in start.lower():
        raise ValueError(
            f"{path} is a web page (HTML), not {what}: the download gave a page to confirm or log in; open "
            "its address in a browser and save the file itself"
        )


def _unpacked(path: Path) -> int:
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError):
        # Another kind of file or a damaged one: reading it tells.
        return path.stat().st_size


def _refuse_more(size: int, path: Path, what: str, most_bytes: int) -> None:
    if size > most_bytes:
        raise ValueError(f"{path} holds {size:,} bytes, more than {what} may have ({most_bytes:,})")


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _unwrapped(content: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(content, Mapping) and not any(isinstance(value, Tensor) for value in content.values()):
        inside = [content[name] for name in _WRAPPERS if isinstance(content.get(name), Mapping)]
        if not inside:
            break
        content = inside[0]
    if isinstance(content, Tensor) or not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}, not a state dict")
    state = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not state:
        names = ", ".join(repr(name) for name in list(content)[:_NAMED])
        raise ValueError(f"{path} holds no tensors by name ({names or 'nothing'}), so it is no state dict")
    others = {str(name) for name in content.keys() - state.keys()}
    if other := sorted(name for name in others if not name.endswith("_extra_state")):
        raise ValueError(f"{path} is no state dict: of its entries, {other[0]} is no tensor")
    return state


def _without_prefix(state: Mapping[str, Tensor], names: Iterable[str]) -> dict[str, Tensor]:
    """Without the prefixes that all names share and that the module's own names do not have."""
    state, names = dict(state), set(names)
    while state and not (names & state.keys()):
        shared = [prefix for prefix in _PREFIXES if all(name.startswith(prefix) for name in state)]
        if not shared:
            break
        state = {name.removeprefix(shared[0]): value for name, value in state.items()}
    return state


def _extra(own: Mapping[str, Any]) -> set[str]:
    """Names that a file may leave out: the count of batches, which files before PyTorch 0.4.1 lack."""
    return {name for name in own if name.endswith("num_batches_tracked")}


def _optional(module: nn.Module) -> set[str]:
    """Names of what a file may have beside a module's own: its layers say so, and take it in as they load."""
    return {
        f"{prefix}.{name}".removeprefix(".")
        for prefix, layer in module.named_modules()
        for name in getattr(layer, "OPTIONAL", ())
    }


def _listed(verb: str, names: Iterable[str]) -> str:
    names = sorted(names)
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{verb} {', '.join(names[:_NAMED])}{more}" if names else ""


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
