"""The layers of φ = Enc∘G and of the critic, and what an iteration of the engine asks of each."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from experiments.bench.timing import Action
from facecrafter.crafter.critic import CriticTraining, FreshCritic
from facecrafter.crafter.implicit import ConjugateGradient
from facecrafter.crafter.inversion import AttackerModel, InnerProblem
from facecrafter.crafter.jacobian import Linearizer
from facecrafter.nets.critic import Critic
from facecrafter.nets.generator import Generator1
from facecrafter.nets.target import resnet18

FORWARD, JVP, VJP, CRITIC_STEP = "forward", "J·v", "Jᵀ·v", "critic step"
WHOLE = ("φ", "D")
"""The networks themselves, in the place of a layer's name."""


@dataclass(frozen=True)
class Sizes:
    """What is timed: ResNet18's encoder behind G1.

    Args:
        image_size: H = W.
        latent_dim: d.
        width: of generator and critic.
        batch: latents in hand.
        critic_batch: images on each side of a critic step.
        side: of the square product that is the peak; None takes one that fills the device.
        repeats: how often each is timed; the shortest counts.
    """

    image_size: int = 64
    latent_dim: int = 500
    width: int = 64
    batch: int = 64
    critic_batch: int = 32
    side: int | None = None
    repeats: int = 5


class Task(NamedTuple):
    """Something to time: a layer, or all of them in a call of the engine itself, and what it is asked for."""

    layer: str
    operation: str
    action: Action


class Networks:
    """φ and the critic with random weights, in one precision.

    Args:
        sizes: of networks and batches.
        dtype: of Jacobian products and critic, and of the forward pass of single layers.
        device: where all of it computes.
    """

    def __init__(self, sizes: Sizes, dtype: torch.dtype, device: torch.device) -> None:
        torch.manual_seed(0)
        self.dtype = dtype
        fast = None if dtype == torch.float32 else dtype
        generator = Generator1(sizes.latent_dim, sizes.image_size, sizes.width).eval().to(device)
        self.model = AttackerModel(resnet18(1).encoder.eval().to(device), generator, "bf16" if fast else "32")
        self.z = torch.randn(sizes.batch, sizes.latent_dim, device=device)
        self.faces = self.model(self.z[: sizes.critic_batch]).images
        training = CriticTraining(batch=sizes.critic_batch, width=sizes.width)
        self.critic = FreshCritic(training, self.faces, torch.Generator().manual_seed(0), fast)

    def tasks(self) -> Iterator[Task]:
        """The rows of whole networks, then layer by layer."""
        yield from self._whole()
        x = self.z
        for name, network in (("G", self.model.generator), ("Enc", self.model.encoder)):
            for number, layer in enumerate(network):
                if not isinstance(layer, nn.Identity):  # where a batch norm has been folded away
                    with torch.no_grad():
                        x, before = layer(x), x
                    yield from _derivatives(_name(f"{name}.{number}", layer, x), layer, before, self.dtype)
        yield from self._critic_layers()

    def _whole(self) -> Iterator[Task]:
        at = self.model(self.z)
        v, u = torch.randn_like(self.z), torch.randn_like(at.features)
        phi, critic = WHOLE
        if self.dtype == torch.float32:  # as it is whatever the products are in
            yield Task(phi, FORWARD, lambda: self.model(self.z))
        yield Task(phi, JVP, lambda: at.d_phi.jvp(v))
        yield Task(phi, VJP, lambda: at.d_phi.vjp(u))
        yield Task(critic, CRITIC_STEP, lambda: self.critic.train(self.faces, 1))

    def _critic_layers(self) -> Iterator[Task]:
        layers = critic_layers(self.critic.network)
        x = torch.cat([self.faces, self.faces])
        for number, layer in enumerate(layers):
            with torch.no_grad(), self._autocast():
                x, before = layer(x), x
            share = CriticShare(layer, before, x, first=number == 0, last=number == len(layers) - 1)
            yield Task(_name(f"D.{number}", layer, x), CRITIC_STEP, lambda share=share: self._step(share))

    def _step(self, share: CriticShare) -> None:
        with self._autocast():
            share.forward()
        share.backward()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.z.device.type, self.dtype, enabled=self.dtype != torch.float32)


def _derivatives(name: str, layer: nn.Module, x: Tensor, dtype: torch.dtype) -> Iterator[Task]:
    """One layer's share of a linearisation of φ and of the products with its Jacobian."""
    # Cast as a whole: within a chain of layers nothing is cast between the products.
    layer, x = deepcopy(layer).to(dtype), x.to(dtype)
    linearize = Linearizer(layer, dtype)
    y, derivative = linearize(x)
    v, u = torch.randn_like(x), torch.randn_like(y)
    yield Task(name, FORWARD, lambda: linearize(x))
    yield Task(name, JVP, lambda: derivative.jvp(v))
    yield Task(name, VJP, lambda: derivative.vjp(u))


def _name(place: str, layer: nn.Module, y: Tensor) -> str:
    kind = type(layer[0] if isinstance(layer, nn.Sequential) else layer).__name__
    return f"{place} {kind} → {'x'.join(map(str, y.shape[1:])) or '1'}"


def critic_layers(critic: Critic) -> list[nn.Module]:
    """The critic in parts, its scores flattened by the last."""
    *layers, last, flatten = critic
    return [*layers, nn.Sequential(last, flatten)]


class CriticShare:
    """One layer's share of a critic step: `facecrafter.losses.wasserstein` without the rest of it.

    Args:
        layer: of the critic.
        x, y: what real and fake images together become before it and behind it.
        first: whether x are the images themselves; no gradient is asked of them but for the penalty.
        last: whether it gives the scores. Their slope is 1 whatever the weights are, and the penalty is of
            the slope at its points alone, not of their scores.
    """

    def __init__(self, layer: nn.Module, x: Tensor, y: Tensor, first: bool, last: bool) -> None:
        half = len(x) // 2
        self.layer, self.last = layer, last
        self.both = x.detach().requires_grad_(not first)
        self.between = x[:half].detach().clone().requires_grad_()
        self.above = torch.randn_like(y[:half]).requires_grad_(not last)
        below = [torch.randn_like(y), torch.randn_like(self.between)]
        self.grads = below if last else [*below, torch.randn_like(y[:half])]

    def forward(self) -> None:
        """Real and fake images, then the penalty's images and their slope."""
        out, points = self.layer(self.both), self.layer(self.between)
        (slope,) = torch.autograd.grad(points, self.between, self.above, create_graph=True)
        self.outputs = [out, slope] if self.last else [out, slope, points]

    def backward(self) -> None:
        """From loss and penalty to the weights, and to the layers before and behind."""
        reached = [self.both, self.between, self.above, *self.layer.parameters()]
        reached = [x for x in reached if x.requires_grad]
        torch.autograd.grad(self.outputs, reached, self.grads, allow_unused=True)


def calls(dtype: torch.dtype) -> dict[str, int]:
    """How often a usual iteration of the engine asks for each in this precision, with its own defaults.

    Its forward pass is in float32 whatever the products are in: that of a layer in another precision only
    shows what could be gained.
    """
    products = ConjugateGradient().steps + InnerProblem().steps
    # Beside the solvers' own: J·v makes ∂L_p/∂F; Jᵀ·v is on the right-hand side of the Gauss-Newton step and
    # in the stationarity that is reported.
    asked = {FORWARD: 1, JVP: products + 1, VJP: products + 2, CRITIC_STEP: CriticTraining().steps}
    return asked | ({} if dtype == torch.float32 else {FORWARD: 0})
