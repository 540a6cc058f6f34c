"""Networks that say who is on an image: MobileFaceNet (frozen, pretrained) and a classifier to train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from facecrafter.nets.narrow import NarrowResNet18
from facecrafter.nets.target import Normalise
from facecrafter.nets.weights import load_into, read_state_dict

_FACE_SIZE = 112
# Output channels, stride and expansion of every bottleneck (Chen et al. 2018, Table 1).
_BOTTLENECKS = (
    *((64, 2, 2), *[(64, 1, 2)] * 4),
    *((128, 2, 4), *[(128, 1, 2)] * 6),
    *((128, 2, 4), *[(128, 1, 2)] * 2),
)


class MobileFaceNet(nn.Module):
    """Images (N, 3, H, W) in [0, 1] -> identity embeddings (N, 128) of length one.

    Chen et al., "MobileFaceNets", 2018. Images of any size are resized to 112 x 112 and normalised here. The
    names of the parts are those of the published state dict, so that it loads strictly; it has no slopes
    for the paper's PReLU, and its batch norms' running means fit ReLU6.
    """

    def __init__(self) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.conv1 = _conv_bn_relu6(3, 64, 3, stride=2)
        self.dw_conv = _DepthwiseSeparable(64)
        blocks: list[nn.Module] = []
        channels = 64
        for outputs, stride, expansion in _BOTTLENECKS:
            blocks.append(_Bottleneck(channels, outputs, stride, expansion))
            channels = outputs
        self.features = nn.Sequential(*blocks)
        self.conv2 = _conv_bn_relu6(channels, 512, 1)
        self.gdconv = _GlobalDepthwise(512)
        self.conv3 = nn.Conv2d(512, 128, 1)
        self.bn = nn.BatchNorm2d(128)

    def forward(self, images: Tensor) -> Tensor:
        faces = F.interpolate(images, (_FACE_SIZE, _FACE_SIZE), mode="bilinear", antialias=True)
        maps = self.features(self.dw_conv(self.conv1(self.normalise(faces))))
        return F.normalize(self.bn(self.conv3(self.gdconv(self.conv2(maps)))).flatten(1))


def load_mobilefacenet(weights: str | Path) -> MobileFaceNet:
    """A frozen MobileFaceNet with the state dict in the file `weights`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it does not hold this network's parameters, or holds NaN.
    """
    net = MobileFaceNet()
    load_into(net, read_state_dict(weights, "MobileFaceNet weights"), weights)
    return net.eval().requires_grad_(False)


def _conv_bn_relu6(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())


class _DepthwiseSeparable(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, maps: Tensor) -> Tensor:
        maps = F.relu6(self.bn1(self.depthwise(maps)))
        return F.relu6(self.bn2(self.pointwise(maps)))


class _Bottleneck(nn.Module):
    """Expansion, depthwise convolution, linear projection; residual where the shape stays."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            _conv_bn_relu6(inputs, hidden, 1),
            _conv_bn_relu6(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.conv(maps)
        return maps + out if self.residual else out


class _GlobalDepthwise(nn.Module):
    """One 7 x 7 kernel per channel in place of an average pool."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, maps: Tensor) -> Tensor:
        out: Tensor = self.bn(self.depthwise(maps))
        return out


_TRUNKS: dict[str, Callable[[], models.ResNet | NarrowResNet18]] = {
    "resnet18": models.resnet18,
    "resnet18_quarter": lambda: NarrowResNet18(n_outputs=1, width=16),
    "resnet50": models.resnet50,
    "resnet152": models.resnet152,
}


class IdentityNet(nn.Module):
    """Images (N, 3, H, W) in [0, 1] -> logits (N, n_identities).

    A ResNet trunk and linear layers of 300, 200 and n_identities units (Crafter, Appendix H). The paper's
    trunk is ResNet152; a smaller one learns more from the few images that an identity has here.
    """

    def __init__(self, n_identities: int, trunk: str = "resnet18") -> None:
        super().__init__()
        if trunk not in _TRUNKS:
            raise ValueError(f"trunk={trunk!r} is unknown; choose from {', '.join(_TRUNKS)}")
        net = _TRUNKS[trunk]()
        assert isinstance(net.fc, nn.Linear)
        features = net.fc.in_features
        net.fc = nn.Identity()
        self.trunk = nn.Sequential(Normalise(), net)
        self.hidden = nn.Sequential(nn.Linear(features, 300), nn.ReLU(), nn.Linear(300, 200), nn.ReLU())
        self.classifier = nn.Linear(200, n_identities)

    def embed(self, images: Tensor) -> Tensor:
        """Penultimate features (N, 200), which feature similarity (FSIM) compares."""
        features: Tensor = self.hidden(self.trunk(images))
        return features

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.embed(images))
        return logits
