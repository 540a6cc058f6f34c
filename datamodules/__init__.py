"""Which images play which role."""

from datamodules.celeba import CelebA
from datamodules.faces import FaceDataModule
from datamodules.folder import FolderFaces
from datamodules.lfw import LFW
from datamodules.photos import PhotoDataModule
from datamodules.synthetic import SyntheticFaces
from datamodules.vggface2 import VGGFace2

__all__ = ["LFW", "CelebA", "FaceDataModule", "FolderFaces", "PhotoDataModule", "SyntheticFaces", "VGGFace2"]
