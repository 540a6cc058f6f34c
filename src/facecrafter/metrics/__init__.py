"""What is measured: identity, images, utility, ε-PII, what people recognise, and the intervals around it."""

from facecrafter.metrics.agreement import chance_test, clustered_macro_f1, confusion, macro_f1
from facecrafter.metrics.frechet import frechet_distance
from facecrafter.metrics.gathering import ImageSet
from facecrafter.metrics.identity import (
    Neighbours,
    feature_similarity,
    identified,
    nearest_neighbours,
)
from facecrafter.metrics.image import MsSsim, Psnr, Ssim, ms_ssim, psnr, ssim
from facecrafter.metrics.image_metric import ImageMetric
from facecrafter.metrics.intervals import (
    clustered_aucs,
    clustered_balanced_accuracy,
    clustered_mean,
    clustered_share,
    paired_difference,
    paired_ratio,
)
from facecrafter.metrics.lpips import Lpips
from facecrafter.metrics.pii import Epsilon, EpsilonPoint, epsilon, epsilon_curve, epsilon_null
from facecrafter.metrics.probe import LinearProbe
from facecrafter.metrics.proportions import Interval, wilson
from facecrafter.metrics.same_person import SamePerson, fano
from facecrafter.metrics.seeds import Spread, over_seeds
from facecrafter.metrics.unlinkability import Linkability, linkability
from facecrafter.metrics.utility import MeanAUC, attribute_aucs, mean_auc
from facecrafter.metrics.verification import fnir_at_fpir, likelihood_ratios, person_scores, tar_at_far

__all__ = [
    "Epsilon",
    "EpsilonPoint",
    "ImageMetric",
    "ImageSet",
    "Interval",
    "LinearProbe",
    "Linkability",
    "Lpips",
    "MeanAUC",
    "MsSsim",
    "Neighbours",
    "Psnr",
    "SamePerson",
    "Spread",
    "Ssim",
    "attribute_aucs",
    "chance_test",
    "clustered_aucs",
    "clustered_balanced_accuracy",
    "clustered_macro_f1",
    "clustered_mean",
    "clustered_share",
    "confusion",
    "epsilon",
    "epsilon_curve",
    "epsilon_null",
    "fano",
    "feature_similarity",
    "fnir_at_fpir",
    "frechet_distance",
    "identified",
    "likelihood_ratios",
    "linkability",
    "macro_f1",
    "mean_auc",
    "ms_ssim",
    "nearest_neighbours",
    "over_seeds",
    "paired_difference",
    "paired_ratio",
    "person_scores",
    "psnr",
    "ssim",
    "tar_at_far",
    "wilson",
]
