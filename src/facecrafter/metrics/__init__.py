"""What is measured: identity, images, utility, ε-PII, and the intervals around them."""

from facecrafter.metrics.identity import IdentificationAccuracy, feature_similarity, identified
from facecrafter.metrics.image import Lpips, ssim
from facecrafter.metrics.intervals import (
    Interval,
    clustered_mean,
    clustered_mean_auc,
    paired_difference,
    paired_ratio,
    wilson,
)
from facecrafter.metrics.pii import Epsilon, epsilon, epsilon_null
from facecrafter.metrics.utility import MeanAUC, attribute_aucs, mean_auc

__all__ = [
    "Epsilon",
    "IdentificationAccuracy",
    "Interval",
    "Lpips",
    "MeanAUC",
    "attribute_aucs",
    "clustered_mean",
    "clustered_mean_auc",
    "epsilon",
    "epsilon_null",
    "feature_similarity",
    "identified",
    "mean_auc",
    "paired_difference",
    "paired_ratio",
    "ssim",
    "wilson",
]
