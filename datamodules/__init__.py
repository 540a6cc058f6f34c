"""Which images play which role."""

from datamodules.celeba import CelebA
from datamodules.crowdsourced import CrowdsourcedFeatures
from datamodules.faces import FaceDataModule
from datamodules.folder import FolderFaces
from datamodules.lfw import LFW
from datamodules.photos import PhotoDataModule
from datamodules.protected import ProtectedPairs
from datamodules.synthetic import SyntheticFaces
from datamodules.vggface2 import VGGFace2

__all__ = [
    "LFW",
    "CelebA",
    "CrowdsourcedFeatures",
    "FaceDataModule",
    "FolderFaces",
    "PhotoDataModule",
    "ProtectedPairs",
    "SyntheticFaces",
    "VGGFace2",
]
