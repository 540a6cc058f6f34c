"""Networks that stand in for the recognisers which image-space defences mean to mislead."""

from __future__ import annotations

from typing import Any

from torch import nn

from facecrafter.image_space import Embedding, flat_features
from lightning_modules.artifacts import load_artifact
from lightning_modules.checks import refuse_other_people
from lightning_modules.networks.oracle import IdentityClassifier, IdentityOracle


class SurrogateClassifier(IdentityClassifier):
    """Learns the public people, whom no judge knows: its embedding is what Fawkes and LowKey attack.

    Several, of other trunks or seeds, make an ensemble. Arguments are those of IdentityClassifier, with
    `n_identities` the number of public people.
    """

    VERSION = 1

    def check_people(self, data: Any) -> None:
        refuse_other_people(data, "public", self.n_identities, "a surrogate learns public people")


def load_surrogates(folders: list[str]) -> nn.ModuleList:
    """The surrogates in these artifact folders.

    Raises:
        ValueError: one of them is a classifier of the private people. It judges the reconstructions: misled
            by design, it would call a defence safe that is not.
    """
    surrogates = nn.ModuleList(load_artifact(folder, IdentityOracle) for folder in folders)
    for folder, surrogate in zip(folders, surrogates, strict=True):
        if isinstance(surrogate, IdentityClassifier) and not isinstance(surrogate, SurrogateClassifier):
            raise ValueError(
                f"{folder} holds a classifier of the private people, which judges: name a "
                "SurrogateClassifier, or an EmbeddingOracle with other weights than the judge's"
            )
    return surrogates


def embeddings(surrogates: nn.ModuleList, encoder: nn.Module) -> list[Embedding]:
    """What a defence misleads: its surrogates, or Enc itself where it has none."""
    return [surrogate.embed for surrogate in surrogates] or [flat_features(encoder)]
