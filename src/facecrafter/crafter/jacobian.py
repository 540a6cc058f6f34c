"""Jacobian products of a frozen network, layer by layer, from one forward pass.

For a network φ and a point x, `Linearizer(φ)(x)` returns φ(x) and the two linear maps v ↦ J·v and u ↦ Jᵀ·u.
One forward pass fixes what is not linear (ReLU masks, pooling winners, slopes of the sigmoid); each product
after it costs about one forward pass, where a double backward costs several and keeps its graph.

A new layer type is one more `@jacobian_rule(Type)` function, here or in a package of your own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torchvision.models.convnext import LayerNorm2d
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.ops import StochasticDepth

from facecrafter.crafter.graph import as_graph, linearize_graph, through_autograd
from facecrafter.nets.maps import FromMap, ToMap
from facecrafter.nets.pruner import TEMPERATURE, Pruner
from facecrafter.nets.target import Normalise
from facecrafter.nets.through_head import ThroughHead
from facecrafter.nets.tracing import WHOLE

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Linearization:
    """The derivative of a map at one point: `jvp` is v ↦ J·v, `vjp` is u ↦ Jᵀ·u, both per sample."""

    jvp: Product
    vjp: Product

    def __matmul__(self, inner: Linearization) -> Linearization:
        """The derivative of the composition: (outer @ inner).jvp(v) = outer.jvp(inner.jvp(v))."""
        # (J_outer · J_inner)ᵀ = J_innerᵀ · J_outerᵀ: transposes run the other way.
        return Linearization(lambda v: self.jvp(inner.jvp(v)), lambda u: inner.vjp(self.vjp(u)))

    def __add__(self, other: Linearization) -> Linearization:
        return Linearization(lambda v: self.jvp(v) + other.jvp(v), lambda u: self.vjp(u) + other.vjp(u))


Result = tuple[Tensor, Linearization]


class Linearizer:
    """Linearizes one frozen network; its weights are cast to the precision of the products only once.

    Args:
        network: in eval mode, best with its batch norms folded (`fold_batchnorm`).
        dtype: of the products. The forward pass keeps the precision of the network: masks decided in bfloat16
            would be wrong for every activation near zero, which costs 15% of error against 0.7%.
    """

    def __init__(self, network: nn.Module, dtype: torch.dtype | None = None) -> None:
        self.network = network
        self.dtype = dtype or next(
            (weight.dtype for weight in network.parameters()), torch.get_default_dtype()
        )
        self._cast: dict[tuple[int, torch.device], Tensor] = {}
        self._warned: set[type] = set()
        self._graphs: dict[int, fx.GraphModule | None] = {}

    def __call__(self, x: Tensor) -> Result:
        """x (N, ...) -> φ(x) and its derivative, whose products take and return the precision of x."""
        # No graph is kept: each layer's rule holds what its two products need.
        with torch.no_grad():
            y, inner = _rule(self.network, x, self)
        return y, Linearization(
            lambda v: inner.jvp(v.to(self.dtype)).to(x.dtype),
            lambda u: inner.vjp(u.to(self.dtype)).to(x.dtype),
        )

    def cast(self, weight: Tensor) -> Tensor:
        """`weight` in the precision of the products."""
        if weight.dtype == self.dtype:
            return weight
        # `network` keeps its weights alive, so no id is given to another tensor.
        key = (id(weight), weight.device)  # the network may be moved after its first use
        return self._cast.setdefault(key, weight.detach().to(self.dtype))

    def graph_of(self, layer: nn.Module, x: Tensor) -> fx.GraphModule | None:
        """`layer` as a graph of its parts, recorded at its first use; None if it has to stay whole."""
        # Recorded once: to run a network's Python code under torch.fx takes longer than many products.
        if id(layer) not in self._graphs:
            self._graphs[id(layer)] = as_graph(layer, x)
        return self._graphs[id(layer)]

    def warn_once(self, layer: nn.Module) -> None:
        if type(layer) not in self._warned:
            self._warned.add(type(layer))
            warnings.warn(
                f"{type(layer).__name__} has no Jacobian rule: its products go through autograd, which is "
                "slower. Register one with facecrafter.crafter.jacobian.jacobian_rule.",
                stacklevel=2,
            )


def _rule(layer: nn.Module, x: Tensor, to: Linearizer) -> Result:
    """The output of a layer and its derivative, by its own rule or without one."""
    # A subclass with a forward of its own is another map: it must not inherit the rule of its parent.
    known = next((kind for kind in type(layer).__mro__ if kind in _RULES), None)
    own = known is not None and type(layer).forward is known.forward
    if known is None or not own or layer._forward_hooks or layer._forward_pre_hooks:
        return _no_rule(layer, x, to)
    return _RULES[known](layer, x, to)


Rule = Callable[[Any, Tensor, "Linearizer"], Result]
_RULES: dict[type[nn.Module], Rule] = {}


def jacobian_rule(*kinds: type[nn.Module]) -> Callable[[Rule], Rule]:
    """Registers a rule for layers of the types `kinds`, yours or any that has none.

    A rule takes a frozen layer in eval mode, its input x (N, ...) and the `Linearizer`, and returns the
    layer's output and a `Linearization`, whose products take and give tensors of type `Linearizer.dtype`.
    """

    def register(rule: Rule) -> Rule:
        for kind in kinds:
            _RULES[kind] = rule
            if kind is not nn.Sequential:  # a chain is looked into: a split may lie inside
                WHOLE.add(kind)
        return rule

    return register


def _no_rule(layer: nn.Module, x: Tensor, to: Linearizer) -> Result:
    """A layer without a rule of its own: its parts, if torch.fx can record it; else autograd."""
    graph = to.graph_of(layer, x)
    if graph is not None:
        y, jvp, vjp = linearize_graph(graph, x, lambda part, at: _rule(part, at, to), to.dtype)
        return y, Linearization(jvp, vjp)
    to.warn_once(layer)
    y, forward, backward = through_autograd(layer, [x], to.dtype)
    return y, Linearization(forward, lambda u: backward(u)[0])


@jacobian_rule(nn.Sequential)
def _(layer: nn.Sequential, x: Tensor, to: Linearizer) -> Result:
    return _chain(list(layer), x, to)


def _chain(layers: list[nn.Module], x: Tensor, to: Linearizer) -> Result:
    derivative = Linearization(lambda v: v, lambda u: u)
    for layer in layers:
        if isinstance(layer, nn.Identity):  # where a batch norm has been folded away
            continue
        x, step = _rule(layer, x, to)
        derivative = step @ derivative
    return x, derivative


@jacobian_rule(nn.Linear)
def _(layer: nn.Linear, x: Tensor, to: Linearizer) -> Result:
    weight = to.cast(layer.weight)
    return layer(x), Linearization(lambda v: v @ weight.T, lambda u: u @ weight)


@jacobian_rule(nn.Conv2d)
def _(layer: nn.Conv2d, x: Tensor, to: Linearizer) -> Result:
    if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return _no_rule(layer, x, to)
    weight, size, groups = to.cast(layer.weight), x.shape[-2:], layer.groups
    stride, padding, dilation = layer.stride, layer.padding, layer.dilation
    # What the forward pass drops at the border when the stride does not divide the size.
    dropped = [
        (n + 2 * p - d * (k - 1) - 1) % s
        for n, p, d, k, s in zip(size, padding, dilation, layer.kernel_size, stride, strict=True)
    ]
    return layer(x), Linearization(
        # No bias in the products: a derivative has no constant term.
        lambda v: F.conv2d(v, weight, None, stride, padding, dilation, groups),
        lambda u: F.conv_transpose2d(u, weight, None, stride, padding, dropped, groups, dilation),
    )


@jacobian_rule(nn.ConvTranspose2d)
def _(layer: nn.ConvTranspose2d, x: Tensor, to: Linearizer) -> Result:
    weight, groups = to.cast(layer.weight), layer.groups
    stride, padding, dilation, extra = layer.stride, layer.padding, layer.dilation, layer.output_padding
    # The adjoint of a transposed convolution is the plain one with the same weight, in the same layout.
    assert isinstance(padding, tuple)
    return layer(x), Linearization(
        lambda v: F.conv_transpose2d(v, weight, None, stride, padding, extra, groups, dilation),
        lambda u: F.conv2d(u, weight, None, stride, padding, dilation, groups),
    )


@jacobian_rule(nn.BatchNorm2d)
def _(layer: nn.BatchNorm2d, x: Tensor, to: Linearizer) -> Result:
    if layer.running_var is None:
        return _no_rule(layer, x, to)
    # In eval mode the statistics are constants: an affine map per channel, whose shift has no derivative.
    slope = (layer.running_var + layer.eps).rsqrt()
    if layer.affine:
        slope = slope * layer.weight
    return layer(x), _scaling(slope.view(-1, 1, 1).to(to.dtype))


@jacobian_rule(Normalise)
def _(layer: Normalise, x: Tensor, to: Linearizer) -> Result:
    return layer(x), _scaling((1 / layer.std).to(to.dtype))


@jacobian_rule(nn.ReLU)
def _(layer: nn.ReLU, x: Tensor, to: Linearizer) -> Result:
    y = x.relu()
    return y, _scaling(y.to(to.dtype).sign())  # a third of the time of (x > 0).to(dtype)


@jacobian_rule(nn.LeakyReLU)
def _(layer: nn.LeakyReLU, x: Tensor, to: Linearizer) -> Result:
    return layer(x), _scaling(torch.where(x > 0, 1.0, layer.negative_slope).to(to.dtype))


@jacobian_rule(nn.Sigmoid)
def _(layer: nn.Sigmoid, x: Tensor, to: Linearizer) -> Result:
    y = x.sigmoid()
    # Cast last: in bfloat16 1 − y is 0 from y = 0.998 on, and a white pixel would have no slope at all.
    return y, _scaling((y * (1 - y)).to(to.dtype))


def _scaling(slope: Tensor) -> Linearization:
    return Linearization(lambda v: v * slope, lambda u: u * slope)


@jacobian_rule(nn.Unflatten, nn.Flatten)
def _(layer: nn.Unflatten | nn.Flatten, x: Tensor, to: Linearizer) -> Result:
    y: Tensor = _channels_last(layer(x))
    return y, Linearization(
        lambda v: _channels_last(v.reshape(y.shape)), lambda u: _channels_last(u.reshape(x.shape))
    )


@jacobian_rule(ToMap)
def _(layer: ToMap, x: Tensor, to: Linearizer) -> Result:
    back = FromMap(x.ndim)
    back.unit = None if layer.unit is None else 1 / layer.unit
    return layer(x), Linearization(layer, back)


def _channels_last(x: Tensor) -> Tensor:
    """The layout in which convolutions are fast; the layers behind this one keep it."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


@jacobian_rule(nn.MaxPool2d)
def _(layer: nn.MaxPool2d, x: Tensor, to: Linearizer) -> Result:
    options = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.ceil_mode)
    y, winners = F.max_pool2d(x, *options, return_indices=True)
    shape = x.to(to.dtype)  # the backward kernel reads only the shape and type of its input
    # A winner's number counts within its own channel's map: it indexes the flattened positions as it is.
    positions = winners.permute(0, 2, 3, 1).flatten(1, 2)

    def jvp(v: Tensor) -> Tensor:
        # As (N, positions, channels), the layout of channels_last: no copy.
        taken = v.permute(0, 2, 3, 1).flatten(1, 2).gather(1, positions)
        return taken.reshape(len(v), *y.shape[-2:], -1).permute(0, 3, 1, 2)

    pull = torch.ops.aten.max_pool2d_with_indices_backward
    kernel, stride, padding, dilation = (
        [size, size] if isinstance(size, int) else list(size) for size in options[:4]
    )
    return y, Linearization(
        jvp, lambda u: pull(u, shape, kernel, stride, padding, dilation, layer.ceil_mode, winners)
    )


@jacobian_rule(nn.AdaptiveAvgPool2d)
def _(layer: nn.AdaptiveAvgPool2d, x: Tensor, to: Linearizer) -> Result:
    if layer.output_size not in (1, (1, 1)):
        return _linear_map(layer, x, to)
    height, width = x.shape[-2:]
    return layer(x), Linearization(
        lambda v: v.mean(dim=(2, 3), keepdim=True),
        lambda u: (u / (height * width)).expand(-1, -1, height, width),
    )


@jacobian_rule(nn.AvgPool2d, nn.Upsample, nn.ZeroPad2d)
def _linear_map(layer: nn.Module, x: Tensor, to: Linearizer) -> Result:
    """A layer that is its own derivative; its transpose is what autograd makes of it."""
    # Where a linear map is differentiated does not matter: x gives shape, type and device.
    _, pull = torch.func.vjp(layer, x.to(to.dtype))[:2]
    return layer(x), Linearization(layer, lambda u: pull(u)[0])


@jacobian_rule(
    *(
        nn.Hardswish,
        nn.Hardsigmoid,
        nn.SiLU,
        nn.GELU,
        nn.ReLU6,
        nn.Hardtanh,
        nn.Tanh,
        nn.ELU,
        nn.Softplus,
        nn.Mish,
    )
)
def _(layer: nn.Module, x: Tensor, to: Linearizer) -> Result:
    """A function of each number alone: its slopes, all from one backward pass."""
    y, pull = torch.func.vjp(layer, x)[:2]
    return y, _scaling(pull(torch.ones_like(y))[0].to(to.dtype))


@jacobian_rule(nn.LayerNorm)
def _(layer: nn.LayerNorm, x: Tensor, to: Linearizer) -> Result:
    axes = tuple(range(-len(layer.normalized_shape), 0))
    variance, mean = torch.var_mean(x, dim=axes, correction=0, keepdim=True)
    scale = (variance + layer.eps).rsqrt()
    standard, scale = ((x - mean) * scale).to(to.dtype), scale.to(to.dtype)
    weight = 1.0 if layer.weight is None else to.cast(layer.weight)

    def standardised(v: Tensor) -> Tensor:
        # Symmetric: takes out the mean and what points along the standardised input.
        along = standard * (v * standard).mean(dim=axes, keepdim=True)
        return scale * (v - v.mean(dim=axes, keepdim=True) - along)

    return layer(x), Linearization(lambda v: weight * standardised(v), lambda u: standardised(weight * u))


@jacobian_rule(LayerNorm2d)
def _(layer: LayerNorm2d, x: Tensor, to: Linearizer) -> Result:
    plain = nn.LayerNorm(layer.normalized_shape, layer.eps, bias=layer.bias is not None)
    plain.weight, plain.bias = layer.weight, layer.bias
    y, at = _rule(plain, x.movedim(1, -1), to)
    return y.movedim(-1, 1), Linearization(
        lambda v: at.jvp(v.movedim(1, -1)).movedim(-1, 1), lambda u: at.vjp(u.movedim(1, -1)).movedim(-1, 1)
    )


@jacobian_rule(nn.Dropout, nn.Dropout2d, StochasticDepth, nn.Identity)
def _(layer: nn.Module, x: Tensor, to: Linearizer) -> Result:
    if layer.training and not isinstance(layer, nn.Identity):
        return _no_rule(layer, x, to)
    return x, Linearization(lambda v: v, lambda u: u)


@jacobian_rule(Pruner)
def _(layer: Pruner, x: Tensor, to: Linearizer) -> Result:
    scores, through_scores = _rule(layer.scores, x, to)
    gates = layer.open(scores)
    # Gates depend on s − s₍ₖ₎: where the threshold's score moves, all gates of the image move against it.
    at_threshold = scores.argsort(dim=1)[:, layer.threshold, None]
    slope = (gates * (1 - gates) / TEMPERATURE).flatten(1).to(to.dtype)
    features, opening = x.to(to.dtype), gates.to(to.dtype)

    def jvp(v: Tensor) -> Tensor:
        moved = through_scores.jvp(v)
        d_gates = slope * (moved - moved.gather(1, at_threshold))
        return v * opening + features * d_gates[:, :, None, None]

    def vjp(u: Tensor) -> Tensor:
        d_scores = slope * (u * features).sum(dim=(2, 3))
        # The transpose of `moved.gather` above: the threshold's score gets minus what all channels ask for.
        d_scores = d_scores.scatter_add(1, at_threshold, -d_scores.sum(dim=1, keepdim=True))
        return u * opening + through_scores.vjp(d_scores)

    return x * gates, Linearization(jvp, vjp)


@jacobian_rule(ThroughHead)
def _(layer: ThroughHead, x: Tensor, to: Linearizer) -> Result:
    found, steps = [], []
    for part, scale in zip(layer.parts, layer.scales, strict=True):
        x, step = _rule(part, x, to)
        found.append(scale * x)
        steps.append(step)

    def jvp(v: Tensor) -> Tensor:
        moved = []
        for step, scale in zip(steps, layer.scales, strict=True):
            v = step.jvp(v)
            moved.append(scale * v)
        return layer.joined(moved)

    def vjp(u: Tensor) -> Tensor:
        pulled = torch.zeros_like(found[-1], dtype=u.dtype)
        # Backwards through f: at the end of each layer its own share joins what comes from those behind it.
        own = layer.apart(u, found)
        for step, scale, share in reversed(list(zip(steps, layer.scales, own, strict=True))):
            pulled = step.vjp(pulled + scale * share)
        return pulled

    return layer.joined(found), Linearization(jvp, vjp)


@jacobian_rule(BasicBlock)
def _(block: BasicBlock, x: Tensor, to: Linearizer) -> Result:
    return _residual(block, [block.conv1, block.bn1, block.relu, block.conv2, block.bn2], x, to)


@jacobian_rule(Bottleneck)
def _(block: Bottleneck, x: Tensor, to: Linearizer) -> Result:
    first = [block.conv1, block.bn1, block.relu, block.conv2, block.bn2]
    return _residual(block, [*first, block.relu, block.conv3, block.bn3], x, to)


def _residual(block: BasicBlock | Bottleneck, layers: list[nn.Module], x: Tensor, to: Linearizer) -> Result:
    main, through_main = _chain(layers, x, to)
    shortcut, through_shortcut = _chain([block.downsample] if block.downsample else [], x, to)
    y, last = _rule(block.relu, main + shortcut, to)
    return y, last @ (through_main + through_shortcut)
