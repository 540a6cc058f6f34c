"""Release of fewer answers than there are: a stranger's feature, with what tells most of the attributes."""

from __future__ import annotations

from facecrafter.crafter.release import DownToKept
from facecrafter.nets.through_head import LOGITS
from lightning_modules.defences.decoy import Decoy
from lightning_modules.defences.public_answers import load_public_answers
from lightning_modules.defences.reduced_answers import ReducedAnswers


class ReducedDecoy(Decoy):
    """Releases F' = Enc(G(z_r)) + δ with f(F') = r(f(Enc(x))): a `Decoy` of k combinations of f's answers.

    Nothing is crafted, and no critic or search is run: what Crafter's answers (`DownToCrafted`) are to be
    compared with, whose dial β is the rank k here.

    Args:
        target, prior, secret, seed, query: see Decoy.
        reduced: artifact folder of `ReducedAnswers`, r.
        rank: k: fewer combinations name fewer people, and tell f's users less.

    Raises:
        ValueError: `rank` is not from 1 to the number of answers.
    """

    VERSION = 1

    def __init__(
        self,
        target: str,
        prior: str,
        reduced: str,
        rank: int = 8,
        secret: str | None = None,
        seed: int = 0,
        query: int = 0,
    ) -> None:
        super().__init__(target, prior, LOGITS, secret, seed=seed, query=query)
        network = load_public_answers(reduced, ReducedAnswers, self).network
        if not 1 <= rank <= network.rank:
            raise ValueError(f"rank={rank} must lie between 1 and {network.rank}, the number of answers")
        network.rank = rank
        self.release = DownToKept(network)
