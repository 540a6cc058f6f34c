"""Release of one word for all answers: a stranger's feature that tells a number of bits, and no more."""

from __future__ import annotations

from facecrafter.crafter.release import DownToKept
from facecrafter.nets.through_head import LOGITS
from lightning_modules.defences.answers_codebook import AnswersCodebook
from lightning_modules.defences.decoy import Decoy
from lightning_modules.defences.public_answers import load_public_answers


class QuantisedDecoy(Decoy):
    """Releases F' = Enc(G(z_r)) + δ with f(F') = w_c: a `Decoy` of the one of 2^b words nearest to f(Enc(x)).

    Everything of the face that is in F' is c, since z_r is drawn without a look at it. So what any attacker
    gains is bounded, whatever is tried and known, and however often the picture is protected with the same
    framing, codebook and b: see `bits`, and `facecrafter.crafter.codebook.Codebook`.

    Args:
        target, prior, seed, query: see Decoy.
        codebook: artifact folder of `AnswersCodebook`.
        bits: b: fewer words name fewer people, and tell f's users less.

    Raises:
        ValueError: `bits` is not from 1 to those of the codebook.
    """

    VERSION = 1

    def __init__(
        self, target: str, prior: str, codebook: str, bits: int = 6, seed: int = 0, query: int = 0
    ) -> None:
        # Under a secret z_r would be a function of the image, which only who lacks it cannot use.
        super().__init__(target, prior, LOGITS, secret=None, seed=seed, query=query)
        network = load_public_answers(codebook, AnswersCodebook, self).network
        if not 1 <= bits <= network.bits:
            raise ValueError(f"bits={bits} must lie between 1 and {network.bits}, those of {codebook}")
        self.bits = network.bits = bits
        self.release = DownToKept(network)
