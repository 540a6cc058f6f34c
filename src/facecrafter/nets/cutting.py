"""A recorded network cut where a single tensor crosses: into two halves, and the second into its blocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from facecrafter.nets.modes import evaluating

_SIZE = torch.ops.aten.sym_size.int
_LINEAR = (F.linear, torch.ops.aten.linear.default)
_NO_LAYER = ("placeholder", "get_attr", "output")


def crossing(graph: fx.GraphModule, last: fx.Node) -> list[fx.Node]:
    """What else than `last` is made before it ends and read behind it: with any, no cut is possible there.

    Weights are not among them, which every part may have; of sizes see `is_length`.
    """
    nodes = list(graph.graph.nodes)
    before = set(nodes[: nodes.index(last) + 1])
    used = (made for node in nodes if node not in before for made in node.all_input_nodes if made in before)
    return [made for made in dict.fromkeys(used) if made is not last and made.op != "get_attr"]


def is_length(node: fx.Node) -> bool:
    """Whether the node is the length of a tensor: as a rule the number of images, which every part knows."""
    return bool(node.target is _SIZE and node.args[1] == 0)


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
            elif is_length(node):
                copies[node] = part.call_function(_SIZE, (features, 0))
    for node in nodes[begin:end]:
        copies[node] = part.node_copy(node, lambda n: copies[n])
    if end < len(nodes):
        part.output(copies[nodes[end - 1]])
    cut = fx.GraphModule(graph, part)
    cut.graph.eliminate_dead_code()
    return fx.GraphModule(cut, cut.graph)  # without the layers that nothing reads


def blocks(head: fx.GraphModule, depth: int, features: Tensor) -> nn.Sequential:
    """A recorded head as the chain of its blocks, which attackers and defences name: "0", "1", ...

    A block gives one tensor, of something for each image. The last linear layer is a block of its own where
    it can be, so that `hidden` is what it reads.

    Args:
        head: features -> logits.
        depth: how many parts the name of a block has, two in `features.3`. An operation outside of all
            modules is a block of its own.
        features: of two images.
    """
    layers = [node for node in head.graph.nodes if node.op not in _NO_LAYER]
    linear = [node for node in layers if _linear(head, node) is not None]
    runs = [_run(head, some) for some in (features, features[[0, 1, 0]])]
    ends = [
        node
        for node, following in pairwise(layers)
        if (_block(node, depth) != _block(following, depth) or {node, following} & set(linear[-1:]))
        and all(run.is_of_images(node) for run in runs)
        and all(run.is_their_number(made) for made in crossing(head, node) for run in runs)
    ]
    chain: list[nn.Module] = list(parts(head, ends))
    if linear:
        place = sum(layers.index(end) < layers.index(linear[-1]) for end in ends)
        chain[place] = _plain(chain[place])
    return nn.Sequential(*chain)


@dataclass(frozen=True)
class _Run:
    """What every node of a graph gave for some images."""

    images: int
    values: Mapping[fx.Node, Any]

    def is_of_images(self, node: fx.Node) -> bool:
        found = self.values[node]
        return isinstance(found, Tensor) and found.ndim > 0 and len(found) == self.images

    def is_their_number(self, node: fx.Node) -> bool:
        return is_length(node) and bool(self.values[node] == self.images)


@torch.no_grad()
def _run(graph: fx.GraphModule, features: Tensor) -> _Run:
    interpreter = fx.Interpreter(graph, garbage_collect_values=False)
    with evaluating(graph):
        interpreter.run(features)
    return _Run(len(features), interpreter.env)


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
    known = dict(graph.named_parameters(remove_duplicate=False))
    given = node.all_input_nodes[1:]
    if node.target not in _LINEAR or any(one.op != "get_attr" or one.target not in known for one in given):
        return None
    weight, *bias = (known[str(one.target)] for one in given)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bool(bias), device="meta")
    layer.weight = weight
    if bias:
        layer.bias = bias[0]
    return layer


def _plain(part: nn.Module) -> nn.Module:
    """A part that is one linear layer, as that; any other as it is."""
    assert isinstance(part, fx.GraphModule)
    layers = [node for node in part.graph.nodes if node.op not in _NO_LAYER]
    linear = _linear(part, layers[0]) if len(layers) == 1 else None
    return part if linear is None else linear
