"""What a module checks before it is fitted: its data, and how the Trainer runs it."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import LightningModule
from pytorch_lightning.strategies import DDPStrategy

from lightning_modules.artifacts import FeatureReader


def require_unused_parameters(module: LightningModule) -> None:
    """Sees that DDP expects steps which leave some of the module's parameters without a gradient.

    Raises:
        ValueError: it does not, and would fail in the second step; naming the flag to use.
    """
    strategy = module.trainer.strategy
    if isinstance(strategy, DDPStrategy) and not strategy._ddp_kwargs.get("find_unused_parameters"):
        raise ValueError(
            f"{type(module).__name__} has several optimizers, so each step leaves parameters unused: "
            "use --trainer.strategy ddp_find_unused_parameters_true"
        )


def refuse_other_pairs(reader: FeatureReader) -> None:
    """Sees that the trainer's data, if it brings pairs, has features of the encoder that `reader` reads.

    Raises:
        ValueError: another encoder made them. Whoever learnt from them would attack in vain, and the defence
            would look better than it is.
    """
    made_by = getattr(reader.trainer.datamodule, "encoder_hash", None)
    if made_by not in (None, reader.encoder_hash):
        raise ValueError(
            f"the data's features were made by encoder {made_by[:12]}, but {reader.encoder_folder} has "
            f"encoder {reader.encoder_hash[:12]}; name the target network or defence that made them"
        )


def fitted_data(module: LightningModule, stage: str) -> Any:
    """The trainer's datamodule, None where nothing is fitted or loaders were given instead."""
    return getattr(module.trainer, "datamodule", None) if stage == "fit" else None


def refuse_private_people(module: LightningModule, stage: str, who: str) -> None:
    """Sees that ``who`` is fitted to public people, where the trainer's data say whom they show.

    Raises:
        ValueError: the data are fitted with another role.
    """
    role = getattr(fitted_data(module, stage), "fit_role", "public")
    if role != "public":
        raise ValueError(f"{who} learns from public people: set fit_role to public, not {role}")


def require_public_people(module: LightningModule, stage: str, who: str) -> None:
    """Sees that ``who``, which a device is given, learns of no private person: whoever has it could tell who
    taught it. An attacker's fit may have exposed ones (`refuse_private_people`).

    Raises:
        ValueError: the data are fitted with another role, or expose private people.
    """
    refuse_private_people(module, stage, who)
    if exposed := getattr(fitted_data(module, stage), "private_exposure", 0):
        raise ValueError(
            f"{who} learns from public people: private_exposure={exposed} adds private ones, which only an "
            "attacker's fit has; leave it out"
        )


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
