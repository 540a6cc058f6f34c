"""What is trained or protected: networks, the attacker's models, oracles and defences."""

from lightning_modules.adversarial_decoder import AdversarialDecoder
from lightning_modules.adversarial_learning import AdversarialLearning
from lightning_modules.amortizer import Amortizer
from lightning_modules.crafter import Crafter
from lightning_modules.crafter_z import CrafterZ
from lightning_modules.decoder import Decoder
from lightning_modules.defence import Defence, Undefended
from lightning_modules.disco import Disco
from lightning_modules.fawkes import Fawkes
from lightning_modules.feature_identifier import FeatureIdentifier
from lightning_modules.head_training import HeadTraining
from lightning_modules.lowkey import LowKey
from lightning_modules.noise import ChannelDropout, GaussianNoise
from lightning_modules.oracle import EmbeddingOracle, IdentityClassifier, IdentityOracle
from lightning_modules.prior import Prior
from lightning_modules.reference import PublishedCrafter
from lightning_modules.stylegan2 import PretrainedStyleGan2, StyleGan2
from lightning_modules.surrogate import SurrogateClassifier
from lightning_modules.target import TargetNetwork
from lightning_modules.tiprdc import Tiprdc
from lightning_modules.tuned_prior import TunedPrior

__all__ = [
    "AdversarialDecoder",
    "AdversarialLearning",
    "Amortizer",
    "ChannelDropout",
    "Crafter",
    "CrafterZ",
    "Decoder",
    "Defence",
    "Disco",
    "EmbeddingOracle",
    "Fawkes",
    "FeatureIdentifier",
    "GaussianNoise",
    "HeadTraining",
    "IdentityClassifier",
    "IdentityOracle",
    "LowKey",
    "PretrainedStyleGan2",
    "Prior",
    "PublishedCrafter",
    "StyleGan2",
    "SurrogateClassifier",
    "TargetNetwork",
    "Tiprdc",
    "TunedPrior",
    "Undefended",
]
