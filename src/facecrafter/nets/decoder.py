"""The black-box attacker's decoder: protected features back to images."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from facecrafter.nets.generator import IMAGE_CHANNELS, Generator2


class Decoder(nn.Sequential):
    """Features (N, C, h, w) -> images (N, 3, H, W) in [0, 1], convolutional throughout.

    Residual blocks at the feature's own resolution do most of the work; every doubling up to the image is a
    sub-pixel convolution (Shi et al. 2016) and one more block. No norm layers: what a feature's magnitude
    says about the image's brightness must reach the image.

    Args:
        feature_shape: (C, h, w) with h = w.
        image_size: h times a power of two.
        width: channels at the feature's resolution; every doubling halves them, down to 32.
        blocks: residual blocks at the feature's resolution.
    """

    def __init__(
        self, feature_shape: tuple[int, int, int], image_size: int, width: int = 64, blocks: int = 3
    ) -> None:
        channels = feature_shape[0]
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1)]
        layers += [_Residual(width) for _ in range(blocks)]
        widths = channels_upwards(feature_shape, image_size, width)
        for wide, narrow in pairwise(widths):
            layers += [
                nn.Conv2d(wide, 4 * narrow, 3, padding=1),
                nn.PixelShuffle(2),
                nn.ReLU(),
                _Residual(narrow),
            ]
        super().__init__(*layers, nn.Conv2d(widths[-1], IMAGE_CHANNELS, 3, padding=1), nn.Sigmoid())


class LinearDecoder(nn.Sequential):
    """The paper's decoder (Crafter, Appendix H): flatten, then G2 with the feature as its latent.

    Its linear layer has C x h x w x 8,192 weights: 134 million for 64 x 16 x 16.
    """

    def __init__(self, feature_shape: tuple[int, int, int], image_size: int) -> None:
        channels, height, width = feature_shape
        super().__init__(nn.Flatten(), Generator2(channels * height * width, image_size))


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = maps + self.body(maps)
        return out


def channels_upwards(feature_shape: tuple[int, int, int], image_size: int, width: int) -> list[int]:
    """`width` channels at the feature's resolution, and those after each doubling up to the image, which
    halves them, down to 32.

    Raises:
        ValueError: no number of doublings leads there.
    """
    levels = range(1, _doublings(feature_shape, image_size) + 1)
    return [width, *(max(width // 2**level, 32) for level in levels)]


def _doublings(feature_shape: tuple[int, int, int], image_size: int) -> int:
    _, height, width = feature_shape
    count = (image_size // height).bit_length() - 1
    if height != width or height * 2**count != image_size:
        raise ValueError(
            f"features of {height} x {width} cannot be doubled to {image_size} x {image_size} images;"
            " the encoder must divide the image's sides by a power of two"
        )
    return count
