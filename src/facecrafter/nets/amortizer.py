"""The amortizer: a first guess of the latent behind a feature, where inversions start."""

from __future__ import annotations

from torch import nn

_CHANNELS = (128, 512, 1024)
_SMALLEST_MAP = 3


class Amortizer(nn.Sequential):
    """Features (N, C, h, w) -> latents (N, d) (Crafter, Appendix H).

    Convolutions 4 x 4 with stride 2 (128, 512, then 1,024 channels) until the map is at most 3 x 3, one as
    large as that map (512) and one of 1 x 1 (d); batch norm and LeakyReLU between. A feature of 16 x 16
    gives the paper's layers, 32 x 32 one stage more.
    """

    def __init__(self, feature_shape: tuple[int, int, int], latent_dim: int) -> None:
        channels, height, width = feature_shape
        if height != width:
            raise ValueError(f"the amortizer needs square features, not {height} x {width}")
        layers: list[nn.Module] = []
        stage = 0
        while height > _SMALLEST_MAP:
            # Features larger than the paper's have more stages; these keep the widest.
            outputs = _CHANNELS[min(stage, len(_CHANNELS) - 1)]
            layers += [nn.Conv2d(channels, outputs, 4, stride=2, padding=1), *_between(outputs)]
            channels, height, stage = outputs, height // 2, stage + 1
        layers += [nn.Conv2d(channels, 512, height), *_between(512)]
        super().__init__(*layers, nn.Conv2d(512, latent_dim, 1), nn.Flatten())


def _between(channels: int) -> tuple[nn.Module, nn.Module]:
    return nn.BatchNorm2d(channels), nn.LeakyReLU(0.2)
