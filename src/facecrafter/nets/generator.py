"""The two generators of the image prior (Crafter, Appendix H).

Both are plain `nn.Sequential` chains of linear maps, batch norms and pointwise functions, so that the code
which multiplies by their Jacobian can walk them layer by layer.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn

IMAGE_CHANNELS = 3
_WIDEST = 8  # channels never exceed 8 x width, as in the paper's 512 at width 64


def halvings(size: int, at_least: int, largest: int) -> int:
    """How often `size` is halved (rounding up): `at_least` times, and until at most `largest` is left.

    >>> halvings(64, at_least=3, largest=8), halvings(128, at_least=3, largest=8)
    (3, 4)
    """
    count = 0
    while count < at_least or size > largest:
        size = (size + 1) // 2
        count += 1
    return count


def _generator(latent_dim: int, image_size: int, width: int, stages: int) -> list[nn.Module]:
    base, remainder = divmod(image_size, 2**stages)
    if remainder or base == 0:
        raise ValueError(
            f"image_size={image_size} cannot be reached by {stages} doublings; use a multiple of {2**stages}"
        )
    channels = [width * min(2**stage, _WIDEST) for stage in reversed(range(stages))]
    layers: list[nn.Module] = [
        # A bias would be cancelled by the batch norm behind it.
        nn.Linear(latent_dim, channels[0] * base**2, bias=False),
        nn.Unflatten(1, (channels[0], base, base)),
        nn.BatchNorm2d(channels[0]),
        nn.ReLU(),
    ]
    for inputs, outputs in pairwise(channels):
        layers += [_double(inputs, outputs, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return [*layers, _double(channels[-1], IMAGE_CHANNELS, bias=True), nn.Sigmoid()]


def _double(inputs: int, outputs: int, bias: bool) -> nn.ConvTranspose2d:
    # (n − 1)·2 − 2·2 + 5 + 1 = 2n: with these paddings the side doubles exactly.
    return nn.ConvTranspose2d(inputs, outputs, 5, stride=2, padding=2, output_padding=1, bias=bias)


class Generator1(nn.Sequential):
    """G1: latent (N, d) -> image (N, 3, H, W) in [0, 1].

    At 64 x 64 and width 64: Linear to 256 x 8 x 8, transposed convolutions to 128, 64 and 3 channels.
    Three doublings, and one more above 64 x 64 (base map 8 x 8 for 128, 7 x 7 for 112).
    """

    def __init__(self, latent_dim: int, image_size: int, width: int = 64) -> None:
        super().__init__(*_generator(latent_dim, image_size, width, halvings(image_size, 3, largest=8)))


class Generator2(nn.Sequential):
    """G2: latent (N, d) -> image (N, 3, H, W) in [0, 1].

    At 64 x 64 and width 64: Linear to 512 x 4 x 4, transposed convolutions to 256, 128, 64 and 3 channels.
    Four doublings, and one more for 128 x 128 (base map 4 x 4; 7 x 7 for 112).
    """

    def __init__(self, latent_dim: int, image_size: int, width: int = 64) -> None:
        super().__init__(*_generator(latent_dim, image_size, width, halvings(image_size, 4, largest=7)))
