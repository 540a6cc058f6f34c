"""Pairs of protected feature and image: the data that brings them says which encoder made the features."""

from __future__ import annotations

from lightning_modules.frozen import FeatureReader


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
