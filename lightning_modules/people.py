"""Whose images a network learns: the data must have the people that it is made for."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import LightningModule


def fitted_data(module: LightningModule, stage: str) -> Any:
    """The trainer's datamodule, None where nothing is fitted or loaders were given instead."""
    return getattr(module.trainer, "datamodule", None) if stage == "fit" else None


def refuse_other_people(data: Any, role: str, n_identities: int, reason: str) -> None:
    """Sees that ``data`` is fitted with the images of ``role``, and has so many people.

    Raises:
        ValueError: the role is another, for ``reason``, or the number is.
    """
    if data.fit_role != role:
        raise ValueError(f"{reason}: set the data's fit_role to {role}, not {data.fit_role}")
    public = role == "public"
    found = data.n_public_identities if public else data.n_private_identities
    if found != n_identities:
        kind = "public" if public else "private"
        raise ValueError(
            f"n_identities={n_identities} but the data has {found} {kind} identities; set {found}"
        )
