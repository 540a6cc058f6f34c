"""Batch norm folded into the linear map before it: the same frozen network in fewer layers."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

_Linear = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
_BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


def fold_batchnorm(module: nn.Module) -> nn.Module:
    """A frozen copy of `module` in eval mode, its batch norms folded into the linear maps before them.

    A batch norm directly behind Conv2d, ConvTranspose2d, Linear or Linear + Unflatten becomes `nn.Identity`;
    outputs are those of eval mode up to rounding. Which layer follows which is read from a symbolic trace,
    not from the order of attributes. Other batch norms stay: those without running statistics, behind a
    layer that is used twice or is of the user's own type, or in code that `torch.fx` cannot trace.
    """
    folded = deepcopy(module).eval().requires_grad_(False)
    _fold_traceable(folded)
    return folded


def _fold_traceable(module: nn.Module) -> None:
    try:
        graph = fx.Tracer().trace(module)
    except Exception:  # a user's forward may raise anything when called with proxies: try its parts
        for child in module.children():
            _fold_traceable(child)
        return
    for linear_name, norm_name in _pairs(graph, module):
        linear, norm = module.get_submodule(linear_name), module.get_submodule(norm_name)
        assert isinstance(linear, _Linear)
        assert isinstance(norm, _BatchNorm)
        linear.weight, linear.bias = _fused(linear, norm)
        module.set_submodule(norm_name, nn.Identity())


def _pairs(graph: fx.Graph, module: nn.Module) -> list[tuple[str, str]]:
    """Names (linear map, batch norm) that run one behind the other, each once, with no other reader."""
    calls = Counter(id(_layer(node, module)) for node in graph.nodes)
    read_directly = {node.target.rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    pairs = []
    for node in graph.nodes:
        if type(_layer(node, module)) not in (nn.BatchNorm1d, nn.BatchNorm2d):
            continue
        before = _linear_before(node, module)
        if before is None or before.target in read_directly:
            continue
        # Used elsewhere too, a linear map would be scaled there as well, with no batch norm behind it.
        if calls[id(_layer(node, module))] == calls[id(_layer(before, module))] == 1:
            pairs.append((str(before.target), str(node.target)))
    return pairs


def _layer(node: object, module: nn.Module) -> nn.Module | None:
    if isinstance(node, fx.Node) and node.op == "call_module":
        return module.get_submodule(str(node.target))
    return None


def _linear_before(node: fx.Node, module: nn.Module) -> fx.Node | None:
    """The node of the linear map whose output channels the batch norm at `node` scales, if there is one."""
    norm, before = _layer(node, module), node.args[0]
    assert isinstance(norm, _BatchNorm)
    features = norm.num_features
    unflatten = _layer(before, module)
    if isinstance(before, fx.Node) and isinstance(unflatten, nn.Unflatten) and len(before.users) == 1:
        if unflatten.dim != 1 or unflatten.unflattened_size[0] != features:
            return None
        features, before = int(torch.Size(unflatten.unflattened_size).numel()), before.args[0]
    # A second reader needs the map as it is before the norm, which folding does away with.
    if not isinstance(before, fx.Node) or len(before.users) > 1 or norm.running_mean is None:
        return None
    return before if _outputs(_layer(before, module)) == features else None


def _outputs(layer: nn.Module | None) -> int | None:
    """Output channels of a layer that can be folded into; its exact type, as a subclass may do anything."""
    if type(layer) is nn.Linear:
        return layer.out_features
    # A grouped transposed weight is (I, O / groups, k, k): none of its axes holds every output channel.
    if type(layer) is nn.Conv2d or (type(layer) is nn.ConvTranspose2d and layer.groups == 1):
        return layer.out_channels
    return None


def _fused(linear: _Linear, norm: _BatchNorm) -> tuple[nn.Parameter, nn.Parameter]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, variance = norm.running_mean, norm.running_var
    scale = norm.weight if norm.affine else torch.ones_like(mean)
    shift = norm.bias if norm.affine else torch.zeros_like(mean)
    if isinstance(linear, nn.Linear):
        # Behind an Unflatten(C, h, w) one channel's statistics serve h x w consecutive outputs.
        repeats = linear.out_features // norm.num_features
        mean, variance, scale, shift = (
            values.repeat_interleave(repeats) for values in (mean, variance, scale, shift)
        )
        return fuse_linear_bn_weights(linear.weight, linear.bias, mean, variance, norm.eps, scale, shift)
    transpose = isinstance(linear, nn.ConvTranspose2d)
    return fuse_conv_bn_weights(linear.weight, linear.bias, mean, variance, norm.eps, scale, shift, transpose)
