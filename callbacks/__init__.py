"""What is shown and written while a run goes on."""

from callbacks.epoch_checkpoints import EpochCheckpoints
from callbacks.feature_writer import FeatureWriter
from callbacks.image_grid import ImageGrid
from callbacks.iteration_log import IterationLog
from callbacks.random_state import RandomState
from callbacks.settling import Settling
from callbacks.shared_batch import SharedBatch
from callbacks.short_epochs import ShortEpochs
from callbacks.time_left import TimeLeft

__all__ = [
    "EpochCheckpoints",
    "FeatureWriter",
    "ImageGrid",
    "IterationLog",
    "RandomState",
    "Settling",
    "SharedBatch",
    "ShortEpochs",
    "TimeLeft",
]
