"""Jacobian products must be those of autograd: a wrong one still descends, only to another place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.convnext import CNBlock, LayerNorm2d
from torchvision.models.mobilenetv3 import InvertedResidual, InvertedResidualConfig
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.vision_transformer import EncoderBlock
from torchvision.ops import SqueezeExcitation

from facecrafter.crafter.graph import unfused_attention
from facecrafter.crafter.inversion import AttackerModel
from facecrafter.crafter.jacobian import Linearization, Linearizer, jacobian_rule
from facecrafter.nets.folding import fold_batchnorm
from facecrafter.nets.generator import Generator1, Generator2
from facecrafter.nets.maps import ToMap
from facecrafter.nets.pruner import Pruner
from facecrafter.nets.target import resnet18, resnet50, vgg16
from facecrafter.nets.tracing import out_of_place, traced


def in_a_unit() -> ToMap:
    layer = ToMap()
    layer.unit = torch.tensor(0.25)
    return layer


def assert_products_match(network: nn.Module, x: Tensor) -> None:
    y, derivative = Linearizer(network, x.dtype)(x)
    v, u = torch.randn_like(x), torch.randn_like(y)
    with unfused_attention():  # autograd, too, has no forward derivative of fused attention
        expected_y, expected_jvp = torch.func.jvp(network, (x,), (v,))
    expected_vjp = torch.func.vjp(network, x)[1](u)[0]
    torch.testing.assert_close(y, expected_y)
    torch.testing.assert_close(derivative.jvp(v), expected_jvp)
    torch.testing.assert_close(derivative.vjp(u), expected_vjp)


LAYERS = {
    "linear": (nn.Linear(5, 7), (3, 5)),
    "conv": (nn.Conv2d(4, 6, 3, padding=1), (2, 4, 8, 8)),
    "conv whose stride leaves a border": (nn.Conv2d(4, 6, 3, stride=2, padding=0), (2, 4, 8, 9)),
    "grouped, dilated conv": (nn.Conv2d(4, 6, 3, padding=2, dilation=2, groups=2), (2, 4, 8, 8)),
    "transposed conv": (nn.ConvTranspose2d(4, 6, 5, 2, 2, 1), (2, 4, 5, 5)),
    "overlapping max-pool": (nn.MaxPool2d(3, 2, 1), (2, 4, 9, 9)),
    "max-pool": (nn.MaxPool2d(2), (2, 4, 8, 8)),
    "relu": (nn.ReLU(), (2, 9)),
    "leaky relu": (nn.LeakyReLU(0.2), (2, 9)),
    "sigmoid": (nn.Sigmoid(), (2, 9)),
    "batch norm": (nn.BatchNorm2d(4), (2, 4, 3, 3)),
    "average pool": (nn.AdaptiveAvgPool2d(1), (2, 4, 5, 6)),
    "depthwise conv": (nn.Conv2d(6, 6, 3, padding=1, stride=2, groups=6), (2, 6, 7, 7)),
    "hard-swish": (nn.Hardswish(), (2, 40)),
    "hard-sigmoid": (nn.Hardsigmoid(), (2, 40)),
    "SiLU": (nn.SiLU(), (2, 9)),
    "GELU": (nn.GELU(), (2, 9)),
    "ReLU6": (nn.ReLU6(), (2, 9)),
    "adaptive pool that does not divide": (nn.AdaptiveAvgPool2d((3, 2)), (2, 4, 7, 5)),
    "average pool of windows": (nn.AvgPool2d(3, 2, 1), (2, 4, 7, 7)),
    "layer norm": (nn.LayerNorm(6), (2, 5, 6)),
    "layer norm of maps, no weights": (nn.LayerNorm((3, 4), elementwise_affine=False), (2, 5, 3, 4)),
    "layer norm over channels": (LayerNorm2d(6), (2, 6, 3, 4)),
    "squeeze-excite": (SqueezeExcitation(6, 2), (2, 6, 5, 5)),
    "mobile block": (
        InvertedResidual(InvertedResidualConfig(8, 3, 16, 8, True, "HS", 1, 1, 1.0), nn.BatchNorm2d),
        (2, 8, 6, 6),
    ),
    "ConvNeXt's block": (CNBlock(6, 0.5, 0.0), (2, 6, 8, 8)),
    "attention": (EncoderBlock(2, 8, 12, 0.0, 0.0, nn.LayerNorm), (2, 5, 8)),
    "pruner": (Pruner(8, 0.5), (3, 8, 8, 8)),
    "vectors as maps": (ToMap(), (3, 5)),
    "tokens as maps": (ToMap(), (3, 4, 5)),
    "maps as they are": (ToMap(), (3, 5, 2, 2)),
    "vectors as maps, in a unit": (in_a_unit(), (3, 5)),
    "tokens as maps, in a unit": (in_a_unit(), (3, 4, 5)),
    "unflatten": (nn.Unflatten(1, (2, 3, 2)), (4, 12)),
    "basic block": (BasicBlock(4, 4), (2, 4, 6, 6)),
    "bottleneck with downsampling": (
        Bottleneck(4, 2, downsample=nn.Sequential(nn.Conv2d(4, 8, 1), nn.BatchNorm2d(8))),
        (2, 4, 6, 6),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer_rules_equal_autograd(name: str) -> None:
    layer, shape = LAYERS[name]
    network = out_of_place(nn.Sequential(layer).double().eval().requires_grad_(False))
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    assert_products_match(network, torch.randn(shape, dtype=torch.float64))


@pytest.mark.parametrize("make", [resnet18, vgg16, resnet50])
def test_encoders_equal_autograd(make) -> None:
    encoder = make(3).encoder.double().eval()
    assert_products_match(fold_batchnorm(encoder), torch.rand(2, 3, 32, 32, dtype=torch.float64))


@pytest.mark.parametrize("make", [Generator1, Generator2])
def test_generators_equal_autograd(make) -> None:
    generator = make(6, 32, width=4).double().eval()
    assert_products_match(fold_batchnorm(generator), torch.randn(2, 6, dtype=torch.float64))


def test_every_layer_of_the_papers_networks_has_a_rule(recwarn: pytest.WarningsRecorder) -> None:
    """A missing rule would silently cost the engine its speed."""
    for make in (resnet18, vgg16, resnet50):
        AttackerModel(make(3).encoder.eval(), Generator1(6, 32, width=4).eval())(torch.randn(2, 6))
    assert not [w for w in recwarn if "Jacobian rule" in str(w.message)]


class ScaledRelu(nn.ReLU):
    def forward(self, x: Tensor) -> Tensor:
        return 3 * x.relu()


@pytest.mark.filterwarnings("ignore:.*Jacobian rule")
def test_a_subclass_with_another_forward_does_not_inherit_the_rule() -> None:
    """timm's BatchNormAct2d is a BatchNorm2d that also activates: its parent's rule would be wrong."""
    assert_products_match(nn.Sequential(ScaledRelu()), torch.randn(3, 4, dtype=torch.float64))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(6, 18)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        return x + F.scaled_dot_product_attention(q, k, v)


@pytest.mark.filterwarnings("ignore:.*Jacobian rule")
def test_fused_attention_is_differentiated_unfused() -> None:
    layer = Attention().double().eval()
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    y, derivative = Linearizer(layer)(x)
    v, u = torch.randn_like(x), torch.randn_like(x)
    jacobian = torch.autograd.functional.jacobian(layer, x).reshape(60, 60)
    torch.testing.assert_close(y, layer(x))
    torch.testing.assert_close(derivative.jvp(v).flatten(), jacobian @ v.flatten())
    torch.testing.assert_close(derivative.vjp(u).flatten(), jacobian.T @ u.flatten())


class InPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        F.hardswish(y, inplace=True)
        y += x
        z = y.sigmoid_()
        return y * z


def test_what_code_does_in_place_is_recorded_as_new_values() -> None:
    network, x = InPlace().double(), torch.randn(3, 4, dtype=torch.float64)
    graph = traced(network)
    torch.testing.assert_close(graph(x), network(x))
    assert_products_match(graph.eval(), x)


class Cubed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x**3


def test_a_rule_of_ones_own_is_used_and_must_be_right() -> None:
    calls = []

    @jacobian_rule(Cubed)
    def _(layer: Cubed, x: Tensor, to: Linearizer) -> tuple[Tensor, Linearization]:
        calls.append(1)
        slope = (3 * x**2).to(to.dtype)
        return layer(x), Linearization(lambda v: v * slope, lambda u: u * slope)

    assert_products_match(nn.Sequential(nn.Linear(4, 4), Cubed()).double(), torch.randn(3, 4).double())
    assert calls


class Cube(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x**3


def test_unknown_layer_falls_back_to_autograd_and_is_named_once() -> None:
    network = nn.Sequential(nn.Linear(4, 4), Cube(), Cube()).double()
    with pytest.warns(UserWarning, match="Cube has no Jacobian rule") as warned:
        assert_products_match(network, torch.randn(3, 4, dtype=torch.float64))
    assert len(warned) == 1


def test_bfloat16_products_stay_close_to_float32() -> None:
    """Masks are decided in float32; decided in bfloat16 they would cost about 15%."""
    torch.manual_seed(0)
    encoder, generator = resnet18(3).encoder.eval(), Generator1(16, 32, width=16).eval()
    z, v = torch.randn(4, 16), torch.randn(4, 16)
    exact = AttackerModel(encoder, generator)(z)
    coarse = AttackerModel(encoder, generator, "bf16")(z)
    torch.testing.assert_close(coarse.features, exact.features)
    assert coarse.d_phi.jvp(v).dtype == torch.float32
    for got, expected in [
        (coarse.d_phi.jvp(v), exact.d_phi.jvp(v)),
        (coarse.d_phi.vjp(exact.features), exact.d_phi.vjp(exact.features)),
    ]:
        assert (got - expected).norm() < 0.03 * expected.norm()
