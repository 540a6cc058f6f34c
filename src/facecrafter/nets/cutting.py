"""A recorded network cut where a single tensor crosses: into two halves, and the second into its blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import fx, nn
from torch.nn import functional as F

_SIZE = torch.ops.aten.sym_size.int
_LINEAR = (F.linear, torch.ops.aten.linear.default)
_NO_LAYER = ("placeholder", "get_attr", "output")


def crossing(graph: fx.GraphModule, last: fx.Node) -> list[fx.Node]:
    """What else than `last` is made before it ends and read behind it: with any, no cut is possible there."""
    nodes = list(graph.graph.nodes)
    before = set(nodes[: nodes.index(last) + 1])
    used = (made for node in nodes if node not in before for made in node.all_input_nodes if made in before)
    return [made for made in dict.fromkeys(used) if made is not last and not _is_known(made)]


def _is_known(node: fx.Node) -> bool:
    """Whether every part of a network knows what the node gives: a weight, or the number of images."""
    return node.op == "get_attr" or (node.target is _SIZE and bool(node.args[1] == 0))


def parts(graph: fx.GraphModule, ends: Sequence[fx.Node]) -> list[fx.GraphModule]:
    """The network cut behind each of the nodes, in their order, behind which nothing else crosses."""
    nodes = list(graph.graph.nodes)
    places = [0, *(nodes.index(end) + 1 for end in ends), len(nodes)]
    return [_part(graph, nodes, begin, end) for begin, end in pairwise(places)]


def _part(graph: fx.GraphModule, nodes: Sequence[fx.Node], begin: int, end: int) -> fx.GraphModule:
    """What the nodes from `begin` to before `end` compute, with the layers and weights that they read."""
    part = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    if begin:
        features = copies[nodes[begin - 1]] = part.placeholder("features")
        for node in nodes[:begin]:
            if node.op == "get_attr":
                copies[node] = part.node_copy(node)
            elif _is_known(node):
                copies[node] = part.call_function(_SIZE, (features, 0))
    for node in nodes[begin:end]:
        copies[node] = part.node_copy(node, lambda n: copies[n])
    if end < len(nodes):
        part.output(copies[nodes[end - 1]])
    cut = fx.GraphModule(graph, part)
    cut.graph.eliminate_dead_code()
    return fx.GraphModule(cut, cut.graph)  # without the layers that nothing reads


def blocks(head: fx.GraphModule, depth: int) -> nn.Sequential:
    """A recorded head as the chain of its blocks, which attackers and defences name: "0", "1", ...

    Its last linear layer is one of them, so that `hidden` is what it reads.

    Args:
        head: features -> logits.
        depth: how many parts the name of a block has, two in `features.3`. An operation outside of all
            modules is a block of its own.
    """
    layers = [node for node in head.graph.nodes if node.op not in _NO_LAYER]
    linear = [node for node in layers if _linear(head, node) is not None]
    ends = [
        node
        for node, following in pairwise(layers)
        if (_block(node, depth) != _block(following, depth) or {node, following} & set(linear[-1:]))
        and not crossing(head, node)
    ]
    return nn.Sequential(*(_plain(part) for part in parts(head, ends)))


def paths(node: fx.Node) -> Iterator[str]:
    """The names of the modules that a node belongs to, from the outermost on, and its own."""
    yield from (entry[0] for entry in (node.meta.get("nn_module_stack") or {}).values())
    if node.op == "call_module":
        yield str(node.target)


def _block(node: fx.Node, depth: int) -> str:
    *_, innermost = ("", *paths(node))
    return ".".join(innermost.split(".")[:depth]) or node.name


def _linear(graph: fx.GraphModule, node: fx.Node) -> nn.Linear | None:
    """The linear layer that a node is, if it is one."""
    if node.op == "call_module":
        layer = graph.get_submodule(str(node.target))
        return layer if isinstance(layer, nn.Linear) else None
    if node.target not in _LINEAR or any(given.op != "get_attr" for given in node.all_input_nodes[1:]):
        return None
    weight, *bias = (graph.get_parameter(str(given.target)) for given in node.all_input_nodes[1:])
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bool(bias), device="meta")
    layer.weight = weight
    if bias:
        layer.bias = bias[0]
    return layer


def _plain(part: fx.GraphModule) -> nn.Module:
    """A part that is one linear layer, as that; any other as it is."""
    layers = [node for node in part.graph.nodes if node.op not in _NO_LAYER]
    linear = _linear(part, layers[0]) if len(layers) == 1 else None
    return part if linear is None else linear
