"""Networks recorded as graphs of layers and functions by torch.fx, without operations in place."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from facecrafter.nets.modes import evaluating

# Types of layers that stay whole in a graph, beside those of torch.nn: those with a Jacobian rule.
WHOLE: set[type[nn.Module]] = set()

_IN_PLACE_OPERATORS: dict[Any, Callable[..., Any]] = {
    operator.iadd: operator.add,
    operator.imul: operator.mul,
    operator.isub: operator.sub,
    operator.itruediv: operator.truediv,
}


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        # Batch norms of others, and layers that only act in training, keep their mode: a record of their
        # forward would freeze the one in which it was made.
        training = isinstance(m, nn.modules.batchnorm._NormBase) or "drop" in type(m).__name__.lower()
        training = training or type(m).__name__ == "StochasticDepth"
        return type(m) in WHOLE or training or super().is_leaf_module(m, module_qualified_name)


def traced(network: nn.Module) -> fx.GraphModule | None:
    """The graph of a network's eval mode, nothing in place; None if torch.fx cannot record its code.

    Its parameters and layers are those of `network`, under the same names.
    """
    try:
        options = list(inspect.signature(network.forward).parameters.values())[1:]
        # What a forward takes beside the images keeps its default: recorded as unknown, it would be "given".
        defaults = {option.name: option.default for option in options}
        with evaluating(network):
            graph = _Tracer().trace(network, concrete_args=defaults or None)
        _without_options(graph)
    except Exception:  # a user's forward may raise anything when called with proxies
        return None
    result = fx.GraphModule(network, graph)
    functional(result)
    return result


def _without_options(graph: fx.Graph) -> None:
    for node in [node for node in graph.nodes if node.op == "placeholder"][1:]:
        for check in list(node.users):
            for inner in [check, *check.users][::-1]:
                graph.erase_node(inner)
        graph.erase_node(node)


def out_of_place(network: nn.Module) -> nn.Module:
    """Switches in-place layers off: Jacobian products need the values that they would overwrite."""
    for layer in network.modules():
        if getattr(layer, "inplace", False) is True:
            layer.inplace = False  # type: ignore[assignment]
        if getattr(layer, "fused_attn", False) is True:  # timm's switch
            layer.fused_attn = False  # type: ignore[assignment]
    return network


def functional(graph: fx.GraphModule) -> None:
    """Replaces what a graph does in place by what gives a new value, for all that read the old one later."""
    out_of_place(graph)
    for node in graph.graph.nodes:
        changed = _functional(node)
        if changed:
            target = node.args[0]
            later = _after(node)
            for user in [user for user in target.users if user is not node and user in later]:
                user.replace_input_with(target, node)
    graph.recompile()


def _functional(node: fx.Node) -> bool:
    """Makes one node functional; whether it was in place."""
    if node.op == "call_function" and node.target in _IN_PLACE_OPERATORS:
        node.target = _IN_PLACE_OPERATORS[node.target]
    elif node.op == "call_function" and node.kwargs.get("inplace"):
        node.kwargs = {name: value for name, value in node.kwargs.items() if name != "inplace"}
    elif node.op == "call_method" and _has_plain(str(node.target)):
        node.target = str(node.target)[:-1]
    else:
        return False
    return True


def _has_plain(method: str) -> bool:
    return method.endswith("_") and not method.endswith("__") and hasattr(torch.Tensor, method[:-1])


def _after(node: fx.Node) -> set[fx.Node]:
    found, following = set(), node.next
    while following.op != "root":
        found.add(following)
        following = following.next
    return found
