"""Release without identity: a prior face that is nobody in particular, with the answer of this one."""

from __future__ import annotations

from facecrafter.crafter.inversion import InnerProblem
from facecrafter.crafter.release import DownToFloor, WithoutIdentity
from facecrafter.nets.through_head import HIDDEN
from facecrafter.precision import Precision
from facecrafter.store import encoder_hash
from lightning_modules.artifacts import load_reader
from lightning_modules.defences.eraser import IdentityEraser
from lightning_modules.defences.manifold import Manifold


class Erasure(Manifold):
    """Releases F' = φ(z') + δ with h(F') = h(Enc(x)): `DownToFloor` of `WithoutIdentity`.

    Nothing is crafted: it shows what of Crafter's protection comes from such a release alone. An attacker who
    inverts F' finds z', a face that is like the mean person where people differ, and what h gives away.

    Args:
        target, prior, inner, precision, seed, query: see Manifold.
        eraser: artifact folder of an IdentityEraser.
        weight: w, see `WithoutIdentity`.
        layer: h, see `facecrafter.crafter.layers.public_layer`.
        steps: of Adam on δ.
        learning_rate: of Adam, in units of a feature's element.
    """

    VERSION = 2

    def __init__(
        self,
        target: str,
        prior: str,
        eraser: str,
        weight: float = 3.0,
        layer: str = HIDDEN,
        steps: int = 60,
        learning_rate: float = 0.05,
        inner: InnerProblem | None = None,
        precision: Precision = "auto",
        seed: int = 0,
        query: int = 0,
    ) -> None:
        super().__init__(target, prior, 0.0, inner, precision, seed, query)
        self.eraser = load_reader(eraser, IdentityEraser, encoder_hash(self.encoder)).network
        self.release = DownToFloor(layer, steps, learning_rate, of=WithoutIdentity(weight))
