"""What f makes of a feature: the layers that were named, and their derivatives."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from facecrafter.crafter.inversion import AttackerModel, squared_distance
from facecrafter.crafter.jacobian import Linearizer
from facecrafter.nets.folding import fold_batchnorm
from facecrafter.nets.generator import Generator1
from facecrafter.nets.target import resnet18, vgg16
from facecrafter.nets.through_head import ThroughHead


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    split = resnet18(5)
    return nn.ModuleDict({"encoder": split.encoder, "head": split.head}).double().eval().requires_grad_(False)


def test_a_layer_is_what_f_makes_of_the_feature_there(net: nn.ModuleDict) -> None:
    features = net["encoder"](torch.rand(2, 3, 32, 32, dtype=torch.float64))
    head = net["head"]
    expected = {"0": head[0](features), "hidden": head[:-1](features), "logits": head(features)}
    for name, activation in expected.items():
        found = ThroughHead(head, {name: 1.0})(features)
        torch.testing.assert_close(found.squeeze((2, 3)) if activation.ndim == 2 else found, activation)
    assert ThroughHead(head, {"0": 1.0})(features).shape == (2, 128, 4, 4)
    assert ThroughHead(head, {"logits": 1.0})(features).shape == (2, 5, 1, 1)


def test_a_layers_weight_is_that_of_its_squared_distance(net: nn.ModuleDict) -> None:
    """Else who weights layers would search for something else than was asked."""
    head = net["head"]
    one, other = net["encoder"](torch.rand(2, 2, 3, 32, 32, dtype=torch.float64).flatten(0, 1)).split(2)
    weights = {"logits": 0.25, "0": 3.0, "feature": 2.0}
    whole = ThroughHead(head, weights)
    assert whole.names == ["feature", "0", "logits"]
    single = {name: ThroughHead(head, {name: 1.0}) for name in weights}
    expected = sum(w * squared_distance(single[n](one), single[n](other)) for n, w in weights.items())
    torch.testing.assert_close(squared_distance(whole(one), whole(other)), expected)


@pytest.mark.parametrize("layers", [{"0": 1.0}, {"hidden": 2.0}, {"feature": 0.5, "3": 3.0, "logits": 0.1}])
def test_its_jacobian_products_are_those_of_autograd(net: nn.ModuleDict, layers: dict[str, float]) -> None:
    network = fold_batchnorm(nn.Sequential(net["encoder"], ThroughHead(net["head"], layers)))
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64)
    y, derivative = Linearizer(network)(x)
    v, u = torch.randn_like(x), torch.randn_like(y)
    expected, moved = torch.func.jvp(network, (x,), (v,))
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(derivative.jvp(v), moved)
    torch.testing.assert_close(derivative.vjp(u), torch.func.vjp(network, x)[1](u)[0])


def test_an_attacker_searches_through_the_head_without_slow_products(
    net: nn.ModuleDict, recwarn: pytest.WarningsRecorder
) -> None:
    encoder = nn.Sequential(net["encoder"], ThroughHead(net["head"], {"0": 1.0, "hidden": 1.0})).float()
    response = AttackerModel(encoder, Generator1(6, 32, width=4))(torch.randn(2, 6))
    assert response.features.shape == (2, 128 * 16 + 512, 1, 1)
    assert not recwarn
    net.double()


@pytest.mark.parametrize(
    ("head", "layers", "message"),
    [
        (vgg16(3).head, {"attention": 1.0}, "no layer 'attention'; it has feature, 0, 1"),
        (nn.Linear(3, 2), {"0": 1.0}, "no layer '0'; it has feature, hidden, logits"),
        (nn.Linear(3, 2), {"logits": 0.0}, "weight above 0"),
        (nn.Linear(3, 2), {}, "at least one"),
    ],
)
def test_layers_that_are_not_there_are_refused(
    head: nn.Module, layers: dict[str, float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ThroughHead(head, layers)
