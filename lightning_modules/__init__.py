"""What is trained or protected: networks, the attacker's models, oracles and defences."""

from lightning_modules.attackers.adversarial_decoder import AdversarialDecoder
from lightning_modules.attackers.amortizer import Amortizer
from lightning_modules.attackers.decoder import Decoder
from lightning_modules.attackers.flow_decoder import FlowDecoder
from lightning_modules.attackers.identifier import FeatureIdentifier
from lightning_modules.attackers.linker import NetworkLinker, RidgeLinker
from lightning_modules.attackers.matcher import Matcher
from lightning_modules.attackers.prior import Prior
from lightning_modules.attackers.stylegan2 import PretrainedStyleGan2, StyleGan2
from lightning_modules.attackers.tuned_prior import TunedPrior
from lightning_modules.defences.adversarial_learning import AdversarialLearning
from lightning_modules.defences.answers_codebook import AnswersCodebook
from lightning_modules.defences.base import Defence, Undefended
from lightning_modules.defences.crafter import Crafter, CrafterZ, PublishedCrafter
from lightning_modules.defences.decoy import Decoy
from lightning_modules.defences.disco import Disco
from lightning_modules.defences.eraser import IdentityEraser
from lightning_modules.defences.erasure import Erasure
from lightning_modules.defences.image_space import Fawkes, LowKey
from lightning_modules.defences.manifold import Manifold
from lightning_modules.defences.noise import ChannelDropout, GaussianNoise
from lightning_modules.defences.quantised_decoy import QuantisedDecoy
from lightning_modules.defences.reduced_answers import ReducedAnswers
from lightning_modules.defences.reduced_decoy import ReducedDecoy
from lightning_modules.defences.tiprdc import Tiprdc
from lightning_modules.networks.head import HeadTraining
from lightning_modules.networks.http_oracle import HttpOracle
from lightning_modules.networks.oracle import EmbeddingOracle, IdentityClassifier, IdentityOracle
from lightning_modules.networks.recognisers import DlibOracle, OwnOracle
from lightning_modules.networks.surrogate import SurrogateClassifier
from lightning_modules.networks.target import TargetNetwork

__all__ = [
    "AdversarialDecoder",
    "AdversarialLearning",
    "Amortizer",
    "AnswersCodebook",
    "ChannelDropout",
    "Crafter",
    "CrafterZ",
    "Decoder",
    "Decoy",
    "Defence",
    "Disco",
    "DlibOracle",
    "EmbeddingOracle",
    "Erasure",
    "Fawkes",
    "FeatureIdentifier",
    "FlowDecoder",
    "GaussianNoise",
    "HeadTraining",
    "HttpOracle",
    "IdentityClassifier",
    "IdentityEraser",
    "IdentityOracle",
    "LowKey",
    "Manifold",
    "Matcher",
    "NetworkLinker",
    "OwnOracle",
    "PretrainedStyleGan2",
    "Prior",
    "PublishedCrafter",
    "QuantisedDecoy",
    "ReducedAnswers",
    "ReducedDecoy",
    "RidgeLinker",
    "StyleGan2",
    "SurrogateClassifier",
    "TargetNetwork",
    "Tiprdc",
    "TunedPrior",
    "Undefended",
]
