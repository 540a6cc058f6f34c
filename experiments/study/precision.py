"""The precision that a stage really computes in: said in its configuration, so that its key says it too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.machine import device
from facecrafter.precision import fast_dtype


def in_real_precision(arguments: Mapping[str, Any], accelerator: str = "auto") -> dict[str, Any]:
    """A copy of a Trainer's section or of a class's arguments, with the `precision` that this machine has.

    `bf16-mixed` of a Trainer is emulated where there is no hardware for it, ten times slower: float32 it is.
    A class's `auto` is one of its other two. Where several machines carry out a study, the one that plans it
    decides for all.
    """
    place = "cpu" if accelerator == "cpu" else device()
    fast = fast_dtype("auto", place) is not None
    real = {"bf16-mixed": "bf16-mixed" if fast else "32-true", "auto": "bf16" if fast else "32"}
    return {
        name: real.get(value, value) if name == "precision" and isinstance(value, str) else value
        for name, value in arguments.items()
    }
