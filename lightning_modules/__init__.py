"""What is trained or protected: networks, the attacker's models, oracles and defences."""

from lightning_modules.amortizer import Amortizer
from lightning_modules.crafter import Crafter
from lightning_modules.decoder import Decoder
from lightning_modules.defence import Defence, Undefended
from lightning_modules.oracle import EmbeddingOracle, IdentityClassifier, IdentityOracle
from lightning_modules.prior import Prior
from lightning_modules.target import TargetNetwork

__all__ = [
    "Amortizer",
    "Crafter",
    "Decoder",
    "Defence",
    "EmbeddingOracle",
    "IdentityClassifier",
    "IdentityOracle",
    "Prior",
    "TargetNetwork",
    "Undefended",
]
