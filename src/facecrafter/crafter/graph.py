"""Jacobian products of a network whose layers do not stand in a row: residuals, squeeze-excite, attention.

The forward pass of such a network is recorded once, by torch.fx, as a graph of layers and functions; each
node gets its own pair of products, and the products of the whole run through the graph, forwards for J·v and
backwards for Jᵀ·u. A node without a rule goes through autograd, in the precision of the forward pass.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils import _pytree as pytree

from facecrafter.nets.tracing import traced

Tangent = Any  # a tensor, or what a node with several outputs gives: a tuple of tensors


@dataclass(frozen=True)
class Step:
    """One node: `jvp` takes a tangent for each of its inputs, `vjp` gives one cotangent for each."""

    node: fx.Node
    inputs: list[fx.Node]
    jvp: Callable[..., Tangent]
    vjp: Callable[[Tangent], tuple[Tensor, ...]]


@contextmanager
def unfused_attention() -> Iterator[None]:
    """Attention as matrix products and a softmax: the fused kernels have no forward derivative."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def through_autograd(
    function: Callable[..., Any], inputs: list[Tensor], dtype: torch.dtype
) -> tuple[Any, Callable[..., Tangent], Callable[[Tangent], tuple[Tensor, ...]]]:
    """The value of any differentiable function, and its products, which take and give `dtype`."""

    def cast(values: Any) -> Any:
        return pytree.tree_map_only(Tensor, lambda value: value.to(dtype), values)

    def tensors(*given: Tensor) -> Any:
        # Attention also gives weights that nobody asked for: None, which has no derivative.
        return pytree.tree_map(lambda part: torch.zeros(()) if part is None else part, function(*given))

    with unfused_attention():
        y, pull = torch.func.vjp(tensors, *inputs)[:2]

    def jvp(*tangents: Tensor) -> Tangent:
        directions = tuple(v.to(x.dtype) for v, x in zip(tangents, inputs, strict=True))
        with unfused_attention():
            return cast(torch.func.jvp(tensors, tuple(inputs), directions)[1])

    def vjp(u: Tangent) -> tuple[Tensor, ...]:
        like = pytree.tree_map(lambda a, b: a.to(b.dtype), u, y)
        return tuple(cast(pull(like)))

    return y, jvp, vjp


def as_graph(layer: nn.Module, x: Tensor) -> fx.GraphModule | None:
    """`layer` as a graph, if it has parts, can be recorded, and the record gives the same for `x`."""
    if isinstance(layer, fx.GraphModule):
        return layer
    if not any(True for _ in layer.children()) or layer.training:
        return None
    graph = traced(layer)
    if graph is None:
        return None
    with unfused_attention():
        expected, found = layer(x), graph(x)
    same = isinstance(found, Tensor) and found.shape == expected.shape
    return graph if same and torch.allclose(found, expected, rtol=1e-4, atol=1e-5) else None


def linearize_graph(
    graph: fx.GraphModule,
    x: Tensor,
    rule: Callable[[nn.Module, Tensor], tuple[Tensor, Any]],
    dtype: torch.dtype,
) -> tuple[Tensor, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """The value of a graph of one input at `x`, and its two products.

    Args:
        rule: a layer and its input -> its output and its derivative.
        dtype: of the products.
    """
    values: dict[fx.Node, Any] = {}
    moving: set[fx.Node] = set()  # what depends on x
    steps: list[Step] = []
    start = end = None
    for node in graph.graph.nodes:
        if node.op == "placeholder":
            start, values[node] = node, x
            moving.add(node)
        elif node.op == "get_attr":
            values[node] = _attribute(graph, node.target)
        elif node.op == "output":
            end = node.args[0]
        else:
            inputs = [i for i in node.all_input_nodes if i in moving]
            values[node], step = _at(graph, node, inputs, values, rule, dtype)
            if step is not None:
                steps.append(step)
                moving.add(node)
    assert isinstance(start, fx.Node)
    assert isinstance(end, fx.Node)
    first, last = start, end

    def jvp(v: Tensor) -> Tensor:
        # Recorded in the order of the forward pass: a node's inputs have their tangents before it is asked.
        tangents: dict[fx.Node, Tangent] = {first: v}
        for step in steps:
            tangents[step.node] = step.jvp(*(tangents[i] for i in step.inputs))
        result: Tensor = tangents[last]
        return result

    def vjp(u: Tensor) -> Tensor:
        cotangents: dict[fx.Node, Tangent] = {last: u}
        for step in reversed(steps):
            if step.node not in cotangents:  # nothing of it reaches the output
                continue
            # Popped: whoever reads this node stands behind it and has given its share, so it can go.
            for node, part in zip(step.inputs, step.vjp(cotangents.pop(step.node)), strict=True):
                known = cotangents.get(node)
                cotangents[node] = part if known is None else pytree.tree_map(torch.add, known, part)
        result: Tensor = cotangents[first]
        return result

    return values[last], jvp, vjp


def _attribute(graph: fx.GraphModule, name: Any) -> Any:
    found: Any = graph
    for part in str(name).split("."):
        found = getattr(found, part)
    return found


def _at(
    graph: fx.GraphModule,
    node: fx.Node,
    inputs: list[fx.Node],
    values: dict[fx.Node, Any],
    rule: Callable[[nn.Module, Tensor], tuple[Tensor, Any]],
    dtype: torch.dtype,
) -> tuple[Any, Step | None]:
    """What a node gives, and its products if it depends on x through tensors of real numbers."""
    layer = graph.get_submodule(str(node.target)) if node.op == "call_module" else None
    if layer is not None and len(inputs) == 1 and len(node.args) == 1 and not node.kwargs:
        y, derivative = rule(layer, values[inputs[0]])
        return y, Step(node, inputs, derivative.jvp, lambda u: (derivative.vjp(u),))

    def call(*given: Any) -> Any:
        known = values | dict(zip(inputs, given, strict=True))
        args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: known[n])
        return _function(graph, node)(*args, **kwargs)

    held = [values[i] for i in inputs]
    with unfused_attention():
        y = call(*held)
    if not inputs or not _real(y):
        return y, None
    if node.target is operator.getitem and not isinstance(held[0], Tensor):
        return y, _picked(node, inputs, held[0], dtype)
    products = _rule_of(node, held, y, dtype) or through_autograd(call, held, dtype)[1:]
    return y, Step(node, inputs, *products)


def _picked(node: fx.Node, inputs: list[fx.Node], parts: Any, dtype: torch.dtype) -> Step:
    """One of several outputs: the others have no part in its cotangent."""
    place = node.args[1]

    def vjp(u: Tangent) -> tuple[Any, ...]:
        blank = [torch.zeros(()) if p is None else torch.zeros_like(p, dtype=dtype) for p in parts]
        blank[place] = u  # type: ignore[index]
        return (type(parts)(blank) if type(parts) in (tuple, list) else tuple(blank),)

    return Step(node, inputs, lambda v: v[place], vjp)


def _function(graph: fx.GraphModule, node: fx.Node) -> Callable[..., Any]:
    if node.op == "call_module":
        return graph.get_submodule(str(node.target))
    if node.op == "call_method":
        return lambda self, *args, **kwargs: getattr(self, str(node.target))(*args, **kwargs)
    assert callable(node.target)
    return node.target


def _real(value: Any) -> bool:
    """Whether a value has tensors of real numbers, along which it can be differentiated."""
    return any(isinstance(part, Tensor) and part.is_floating_point() for part in pytree.tree_leaves(value))


_ADD = ("add", "iadd", "add.Tensor")
_MULTIPLY = ("mul", "mul.Tensor")
_MATMUL = ("matmul", "bmm", "bmm.default", "matmul.default")


def _rule_of(
    node: fx.Node, held: list[Any], y: Any, dtype: torch.dtype
) -> tuple[Callable[..., Tangent], Callable[[Tangent], tuple[Tensor, ...]]] | None:
    """Products of the functions that networks are mostly made of, without autograd's graph."""
    name = getattr(node.target, "__name__", str(node.target))
    tensors = all(isinstance(value, Tensor) for value in held)
    if (
        not tensors
        or node.kwargs
        or node.op == "call_module"
        or len(held) != len(node.args)
        or len(held) != 2
    ):
        return None
    # From here on both operands depend on x; where one does not, or has options, autograd takes the node.
    a, b = (value.to(dtype) for value in held)
    if name in _ADD:
        return (lambda v, w: (v + w).expand(y.shape)), lambda u: (_summed(u, a), _summed(u, b))
    if name in _MULTIPLY:
        return (lambda v, w: v * b + a * w), lambda u: (_summed(u * b, a), _summed(u * a, b))
    if name in _MATMUL and min(a.ndim, b.ndim) >= 2:
        return (
            lambda v, w: v @ b + a @ w,
            lambda u: (_summed(u @ b.mT, a), _summed(a.mT @ u, b)),
        )
    return None


def _summed(u: Tensor, like: Tensor) -> Tensor:
    """The transpose of broadcasting `like` to the shape of `u`."""
    return u.sum_to_size(like.shape)
