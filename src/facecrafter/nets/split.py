"""Any network as an encoder and a head, cut behind the layer that the user names."""

from __future__ import annotations

import importlib
import inspect
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchvision import models

from facecrafter.nets.cutting import blocks, crossing, is_length, parts, paths
from facecrafter.nets.maps import ToMap, probed, reading_maps
from facecrafter.nets.modes import evaluating
from facecrafter.nets.target import ARCHITECTURES, Normalise, SplitNetwork
from facecrafter.nets.tracing import functional, out_of_place, traced

FILES = {".pt2": "torch.export", ".ts": "TorchScript", ".torchscript": "TorchScript", ".onnx": "ONNX"}


class Scripted(nn.Module):
    """A program of TorchScript that can be copied, as freezing a network does."""

    def __init__(self, script: nn.Module) -> None:
        super().__init__()
        self.script = script

    def forward(self, x: Tensor) -> Tensor:
        # As it is written: the optimised program hides its operations from forward derivatives.
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            result: Tensor = self.script(x)
        return result

    def __deepcopy__(self, memo: dict[int, Any]) -> Scripted:
        held = io.BytesIO()
        torch.jit.save(self.script, held)
        held.seek(0)
        copy = Scripted(torch.jit.load(held))  # type: ignore[no-untyped-call]
        for own, new in zip(self.parameters(), copy.parameters(), strict=True):
            new.requires_grad_(own.requires_grad)
        return copy.train(self.training)


def split_network(
    arch: str, n_outputs: int, split: str | None = None, arch_args: Mapping[str, Any] | None = None
) -> SplitNetwork:
    """The network that `arch` names, cut behind the layer `split`.

    Args:
        arch: resnet18, vgg16 or resnet50, split as in the paper; resnet18_quarter, of a quarter of the
            channels; `torchvision/NAME`; `timm/NAME`; the import path of what makes a network; or a file of
            torch.export (.pt2), TorchScript (.ts) or ONNX (.onnx).
        n_outputs: of the head.
        split: name of a layer, such as `features.3`, or in a file of ONNX of an operation; features are its
            output. A file without one is an encoder as it is, with a new head: average pool and linear map.
        arch_args: given to what makes the network; `mean` and `std`, three numbers each, are what images
            are normalised by, otherwise ImageNet's.

    Raises:
        ValueError: there is no such network or layer, or it cannot be cut there; says what can.
    """
    if arch in ARCHITECTURES:
        if split is not None or arch_args:
            raise ValueError(
                f"arch={arch} is split as in the paper; write torchvision/{arch} to split elsewhere"
            )
        return ARCHITECTURES[arch](n_outputs)
    options = dict(arch_args or {})
    normalise = Normalise(**{name: options.pop(name) for name in ("mean", "std") if name in options})
    is_file = Path(arch).suffix in FILES
    network = _opened(Path(arch)) if is_file else out_of_place(_made(arch, n_outputs, options))
    if split is None:
        if not is_file:
            raise ValueError(f"arch={arch} needs split: the layer behind which it is cut. {_layers(network)}")
        return _with_new_head(nn.Sequential(normalise, network), n_outputs, arch)
    encoder, head = _cut(network, split, arch)
    features = probed(nn.Sequential(normalise, encoder), f"{arch} split behind {split}")
    try:
        if isinstance(head, fx.GraphModule):
            head = blocks(head, 1 + split.count("."), features)
        made = SplitNetwork(nn.Sequential(normalise, encoder, ToMap()), reading_maps(head, features.ndim))
        with torch.no_grad(), evaluating(made.head):  # not a batch for its batch norms to learn from
            logits = made.head(probed(made.encoder, arch))
    except RuntimeError as error:
        raise ValueError(
            f"{arch} gives nothing for two or three images behind {split} ({str(error).splitlines()[0]}): a "
            "file is exported with a dynamic number of images"
        ) from error
    if logits.shape[1:] != (n_outputs,):
        raise ValueError(
            f"{arch} gives outputs of shape {tuple(logits.shape[1:])}, but n_outputs={n_outputs}; export its "
            "encoder alone and leave out split: a new head is made"
        )
    return made


def _made(arch: str, n_outputs: int, options: dict[str, Any]) -> nn.Module:
    library, _, name = arch.partition("/")
    network: nn.Module
    if library == "torchvision" and name in models.list_models(module=models):
        network = models.get_model(name, weights=None, num_classes=n_outputs, **options)
    elif library == "timm":
        network = _package("timm", "timm").create_model(name, num_classes=n_outputs, **options)
    elif not name and "." in arch:
        module, _, attribute = arch.rpartition(".")
        try:
            make: Callable[..., nn.Module] = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ValueError(
                f"arch={arch} cannot be imported ({error}); check the spelling, and that PYTHONPATH names "
                "its folder"
            ) from error
        if "num_classes" in inspect.signature(make).parameters:
            options = {"num_classes": n_outputs} | options
        network = make(**options)
    else:
        raise ValueError(
            f"arch={arch!r} is unknown; choose from {', '.join(ARCHITECTURES)}, or write torchvision/NAME, "
            f"timm/NAME, an import path, a file ({', '.join(FILES)}), or name your own encoder"
        )
    return network


def _package(name: str, extra: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(
            f"networks of {extra} need {name} installed: pip install 'facecrafter[{extra}]'"
        ) from error


def _opened(path: Path) -> nn.Module:
    if not path.is_file():
        raise FileNotFoundError(f"no network at {path}")
    kind = FILES[path.suffix]
    if kind == "ONNX":
        return _converted(path)
    try:
        if kind == "TorchScript":
            script = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
            return Scripted(script.eval())
        return _exported(path)
    except RuntimeError as error:
        raise ValueError(f"{path} is no file of {kind}: {str(error).splitlines()[0]}") from error


def _converted(path: Path) -> fx.GraphModule:
    onnx2fx, onnx = _package("onnx2fx", "onnx"), _package("onnx", "onnx")
    try:
        graph: fx.GraphModule = onnx2fx.convert(onnx.load(path))
    except Exception as error:  # whatever its bytes lead to
        raise ValueError(
            f"{path} cannot be read as ONNX ({str(error).splitlines()[0]}): save the network with "
            "torch.export.save (.pt2) or torch.jit.save (.ts) where it comes from"
        ) from error
    for name, value in list(graph.named_buffers()):
        if value.is_floating_point() and value.ndim:  # numbers are constants of a formula, the others weights
            delattr(graph, name)
            graph.register_parameter(name, nn.Parameter(value.clone()))
    functional(graph)
    return graph


def _exported(path: Path) -> fx.GraphModule:
    program = torch.export.load(path).run_decompositions({})
    graph = program.module(check_guards=False)
    # Without what torch.export forbids: train, eval. Its batch norms stay as they were exported.
    plain = fx.GraphModule(graph, graph.graph)
    for node in plain.graph.nodes:
        if node.op == "call_module" and node.target == "_guards_fn":
            plain.graph.erase_node(node)
            break
    output = next(node for node in plain.graph.nodes if node.op == "output")
    if isinstance(output.args[0], tuple | list) and len(output.args[0]) == 1:
        output.args = (output.args[0][0],)
    plain.graph.set_codegen(fx.graph.CodeGen())  # its own wraps inputs and outputs
    functional(plain)
    return plain


def _cut(network: nn.Module, split: str, arch: str) -> tuple[nn.Module, nn.Module]:
    graph = network if isinstance(network, fx.GraphModule) else traced(network)
    if graph is None:
        return _cut_chain(network, split, arch)
    inside = [node for node in graph.graph.nodes if _belongs(node, split)]
    if not inside and isinstance(network, Scripted):
        raise ValueError(
            f"{arch} is a program of TorchScript, which is not cut at {split!r}: leave out split, and it is "
            "the encoder as it is, with a new head"
        )
    if not inside:
        raise ValueError(f"{arch} has no layer {split!r}. {_layers(network)}")
    last = inside[-1]
    if others := [node for node in crossing(graph, last) if not is_length(node)]:
        names = ", ".join(map(str, others))
        raise ValueError(f"{arch} cannot be cut behind {split}: the rest also reads {names}; name a block")
    encoder, head = parts(graph, [last])
    return encoder, head


def _belongs(node: fx.Node, split: str) -> bool:
    if node.op in ("placeholder", "get_attr", "output"):
        return False
    return any(path == split or path.startswith(f"{split}.") for path in (*paths(node), str(node.name)))


def _cut_chain(network: nn.Module, split: str, arch: str) -> tuple[nn.Module, nn.Module]:
    """A network that cannot be recorded, as the row of its parts, if that row gives what it gives."""
    parts = dict((network.script if isinstance(network, Scripted) else network).named_children())
    if split not in parts:
        raise ValueError(f"{arch} can be cut behind one of its parts only: {', '.join(parts)}")
    place = list(parts).index(split) + 1
    row = [Scripted(part) if isinstance(part, torch.jit.ScriptModule) else part for part in parts.values()]
    encoder, head = nn.Sequential(*row[:place]), nn.Sequential(*row[place:])
    try:
        whole, chained = probed(network, arch), probed(nn.Sequential(encoder, head), arch)
        same = whole.shape == chained.shape and torch.allclose(whole, chained, atol=1e-5)
    except ValueError:
        same = False
    if not same:
        raise ValueError(
            f"{arch} cannot be cut behind {split}: its parts in a row are another network; save its encoder "
            "alone and leave out split (a new head is made), or save the network by torch.export (.pt2)"
        )
    return encoder, head


def _with_new_head(encoder: nn.Sequential, n_outputs: int, arch: str) -> SplitNetwork:
    encoder.append(ToMap())
    channels = probed(encoder, arch).shape[1]
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, n_outputs))
    return SplitNetwork(encoder, reading_maps(head, 4))


def _layers(network: nn.Module) -> str:
    names = [name for name, _ in network.named_modules() if name and name.count(".") < 2]
    if not names and isinstance(network, fx.GraphModule):  # one of operations, as ONNX has it
        names = [node.name for node in network.graph.nodes if node.op == "call_function"]
    return f"Its layers: {', '.join(names[:40])}" if names else ""
