"""How much there is to compute: the matrix products and the bytes of whatever runs inside a `Work`.

Counted where the kernels are called, so backward passes, Jacobian products and a critic's second derivatives
need no formulas of their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

aten = torch.ops.aten


class Product(NamedTuple):
    """A matrix product (m, k) @ (k, n), `batch` times."""

    batch: int
    m: int
    k: int
    n: int

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.batch * self.m * self.k * self.n

    def __str__(self) -> str:
        size = f"({self.m} x {self.k}) @ ({self.k} x {self.n})"
        return size if self.batch == 1 else f"{self.batch} of {size}"


class Work(TorchDispatchMode):
    """Counts what is computed while it is entered.

    Attributes:
        products: the matrix products that the kernels amount to, with how often each occurs. A convolution is
            one over its patches.
        bytes: what the kernels read and write, every operand of each once: less than is moved where a kernel
            copies its operands into another layout, more than comes from memory where a cache holds them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.products: Counter[Product] = Counter()
        self.bytes = 0

    @property
    def flops(self) -> int:
        """The floating-point operations of the products; what is done to single elements is not counted."""
        return sum(product.flops * times for product, times in self.products.items())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        kernel = func.overloadpacket
        if kernel in PRODUCTS:
            self.products.update(PRODUCTS[kernel](args, result))
        if not func.is_view and kernel not in WITHOUT_TRAFFIC:
            operands = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
            self.bytes += sum(map(_bytes, operands))
        return result


WITHOUT_TRAFFIC = {aten.empty, aten.empty_like, aten.new_empty, aten.detach, aten._unsafe_view}


def _bytes(x: Tensor) -> int:
    """An expanded tensor is read from less memory than it has elements."""
    return min(x.numel() * x.element_size(), x.untyped_storage().nbytes())


def _mm(args: Any, result: Tensor) -> list[Product]:
    a, b = args[:2]
    return [Product(1, *a.shape, b.shape[1])]


def _addmm(args: Any, result: Tensor) -> list[Product]:
    return _mm(args[1:], result)


def _bmm(args: Any, result: Tensor) -> list[Product]:
    a, b = args[:2]
    return [Product(*a.shape, b.shape[2])]


def _convolution(args: Any, result: Tensor) -> list[Product]:
    x, weight, *_, transposed, _, groups = args[:9]
    return [_patches(x, weight, result, transposed, groups).forward]


def _convolution_backward(args: Any, result: Any) -> Iterator[Product]:
    grad, x, weight, *_, transposed, _, groups, wanted = args[:11]
    products = _patches(x, weight, grad, transposed, groups)
    for product, is_wanted in zip((products.to_input, products.to_weight), wanted, strict=False):
        if is_wanted:
            yield product


class _Convolution(NamedTuple):
    forward: Product
    to_input: Product
    to_weight: Product


def _patches(x: Tensor, weight: Tensor, y: Tensor, transposed: bool, groups: int) -> _Convolution:
    """The products of a convolution x -> y and of its two gradients. A transposed one is the adjoint of a
    convolution y -> x."""
    small = x if transposed else y
    positions = len(small) * small[0, 0].numel()
    channels, patch = weight.shape[0] // groups, weight[0].numel()
    gather = Product(groups, positions, patch, channels)
    scatter = Product(groups, positions, channels, patch)
    to_weight = Product(groups, channels, positions, patch)
    return _Convolution(*((scatter, gather) if transposed else (gather, scatter)), to_weight)


PRODUCTS: dict[Any, Callable[[Any, Any], Any]] = {
    aten.mm: _mm,
    aten.addmm: _addmm,
    aten.bmm: _bmm,
    aten.convolution: _convolution,
    aten.convolution_backward: _convolution_backward,
}
