"""Networks that stand in for the recognisers which image-space defences mean to mislead."""

from __future__ import annotations

from torch import nn

from facecrafter.image_space import Embedding, flat_features
from lightning_modules.artifacts import load_artifact
from lightning_modules.oracle import IdentityClassifier, IdentityOracle


class SurrogateClassifier(IdentityClassifier):
    """Learns the public people, whom no judge knows: its embedding is what Fawkes and LowKey attack.

    Several, of other trunks or seeds, make an ensemble. Arguments are those of IdentityClassifier, with
    `n_identities` the number of public people.
    """

    VERSION = 1

    def setup(self, stage: str) -> None:
        datamodule = getattr(self.trainer, "datamodule", None)
        if stage != "fit" or datamodule is None:
            return
        if datamodule.fit_role != "public":
            raise ValueError(
                f"a surrogate learns public people: set the data's fit_role to public, not "
                f"{datamodule.fit_role}"
            )
        if datamodule.n_public_identities != self.n_identities:
            found = datamodule.n_public_identities
            raise ValueError(
                f"n_identities={self.n_identities} but the data has {found} public identities; set {found}"
            )


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
