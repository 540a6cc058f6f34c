"""Which precision a machine is fast in."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["auto", "32", "bf16"]


def fast_dtype(precision: Precision, device: torch.device | str = "cpu") -> torch.dtype | None:
    """bfloat16 if `precision` asks for it, or is `auto` and the device multiplies it in hardware; else None.

    Without such hardware bfloat16 is emulated, and slower than float32.
    """
    if precision == "bf16" or (precision == "auto" and _multiplies_bfloat16(torch.device(device))):
        return torch.bfloat16
    return None


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
