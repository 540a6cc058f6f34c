"""How much of this machine the engine uses: FLOP/s of every layer against the machine's own matrix product.

One row for each layer and what an iteration of the engine asks of it: the forward pass that linearises φ,
J·v, Jᵀ·v, and the layer's share of a critic step with penalty. Rows for whole networks time the engine
itself; the layers are timed alone, so their sum need not be the whole, but they do the same products.

`of_peak` is what a layer reaches of the speed of a large square product in the same precision. Where the rest
of its time goes is read from two other times: that of plain matrix products of the layer's sizes
(`ms_products`), and that of a copy of the bytes that it reads and writes (`ms_copy`). All four take turns, so
that they share what else the machine has to do. `limit` is

- near the peak: at least 70% of it; else where most of the lost time goes:
- small product: into products of its sizes, which are slower than the square one;
- memory: into moving its operands;
- kernel: neither; its kernels rearrange their operands, or are slow at such sizes.

The three worst layers of a precision lose most: calls per iteration x time x (1 - of_peak).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from tqdm import tqdm

from experiments.bench.layers import WHOLE, Networks, Sizes, Task, calls
from experiments.bench.peak import PEAK_SIDE, copying, multiplication
from experiments.bench.timing import Row, Stopwatch
from experiments.bench.work import Product, Work
from facecrafter.precision import fast_dtype

WORST = 3
TIMED = 4
"""Calls in turns: the layer, products of its sizes, a copy of its bytes, the square product."""
GOOD = 0.7


FULL = Sizes()
QUICK = Sizes(batch=16, critic_batch=16, repeats=2)


def rows(sizes: Sizes, bar: tqdm, device: torch.device) -> list[Row]:
    """Every layer in every precision that the engine would choose here."""
    bar.reset(total=0)
    dtypes = [torch.float32, *filter(None, [fast_dtype("auto", device)])]
    return [row for dtype in dtypes for row in _layers(sizes, dtype, Stopwatch(bar, device))]


def _layers(sizes: Sizes, dtype: torch.dtype, watch: Stopwatch) -> list[Row]:
    precision = str(dtype).removeprefix("torch.")
    square = Product(1, *3 * (sizes.side or PEAK_SIDE[watch.device.type],))
    batches = {"batch": sizes.batch, "critic_batch": sizes.critic_batch}
    tasks = list(Networks(sizes, dtype, watch.device).tasks())
    watch.bar.total += TIMED * len(tasks) * (sizes.repeats + 1)
    case = f"resnet18 {sizes.image_size}x{sizes.image_size}, {precision}"
    about = {"case": case, "precision": precision, **batches, "peak_of": str(square)}
    lines = [about | Measured.of(task, dtype, square, sizes.repeats, watch).row() for task in tasks]
    layers = [line for line in lines if line["layer"] not in WHOLE]
    for rank, line in enumerate(sorted(layers, key=lambda line: -line["ms_lost"])[:WORST], start=1):
        line["worst"] = rank
    for line in lines:
        line["explanation"] = f"worst {line['worst']}: {line['explanation']}" if line["worst"] else None
    return lines


@dataclass(frozen=True)
class Measured:
    """A task and what it is held against, in seconds of one call.

    Attributes:
        calls: of the task in an iteration of the engine.
        products: plain matrix products of its sizes.
        copy: a copy of its bytes.
        peak: FLOP/s of the machine meanwhile.
    """

    task: Task
    calls: int
    work: Work
    seconds: float
    products: float
    copy: float
    peak: float

    @classmethod
    def of(cls, task: Task, dtype: torch.dtype, square: Product, repeats: int, watch: Stopwatch) -> Measured:
        """Everything in turns, the shortest time of each."""
        with Work() as work:
            task.action()
        actions = {
            "task": task.action,
            "products": multiplication(work.products, dtype, watch.device),
            "copy": copying(work.bytes, watch.device),
            "square": multiplication(Counter([square]), dtype, watch.device),
        }
        taken = {name: min(times) for name, times in watch.in_turns(actions, repeats).items()}
        peak, asked = square.flops / taken["square"], calls(dtype)[task.operation]
        products = taken["products"] if work.products else 0.0
        return cls(task, asked, work, taken["task"], products, taken["copy"], peak)

    @property
    def of_peak(self) -> float:
        return self.work.flops / self.seconds / self.peak

    @property
    def losses(self) -> dict[str, float]:
        """Where the time goes that the layer would not take at the peak."""
        return {
            "small product": self.products - self.work.flops / self.peak,
            "memory": self.copy,
            "kernel": self.seconds - self.products - self.copy,
        }

    @property
    def limit(self) -> str:
        """What stands between the layer and the peak; see the module."""
        return "near the peak" if self.of_peak >= GOOD else max(self.losses, key=self.losses.__getitem__)

    def row(self) -> Row:
        """One line of the table. Times are those of one call, but for `ms_lost`, of an iteration."""
        flops, moved = self.work.flops, self.work.bytes
        return {
            "layer": self.task.layer,
            "operation": self.task.operation,
            "calls": self.calls,
            "gflop": flops / 1e9,
            "mbyte": moved / 1e6,
            "flop_per_byte": flops / max(moved, 1),
            "ms": 1e3 * self.seconds,
            "ms_products": 1e3 * self.products,
            "ms_copy": 1e3 * self.copy,
            "gflop_s": flops / self.seconds / 1e9,
            "gbyte_s": moved / self.seconds / 1e9,
            "copy_gbyte_s": moved / self.copy / 1e9,
            "peak_gflop_s": self.peak / 1e9,
            "of_peak": self.of_peak,
            "ms_lost": 1e3 * self.calls * self.seconds * (1 - self.of_peak),
            "limit": self.limit,
            "worst": None,
            "explanation": self.explanation(),
        }

    def explanation(self) -> str:
        """The row in words."""
        largest = max(self.work.products, key=lambda product: product.flops, default="none")
        sizes, memory, kernel = (1e3 * lost for lost in self.losses.values())
        return (
            f"{self.task.layer}, {self.task.operation}: {1e3 * self.seconds:.1f} ms, {self.calls} times an "
            f"iteration, at {self.of_peak:.0%} of the peak ({self.limit}). At the peak it would take "
            f"{1e3 * self.work.flops / self.peak:.1f} ms; {sizes:+.1f} ms for the sizes of its products, of "
            f"which the largest is {largest}; {memory:+.1f} ms for moving {self.work.bytes / 1e6:.0f} MB; "
            f"{kernel:+.1f} ms for what its kernels do besides."
        )
