"""What people recognised in a poll: confusion, macro-F1, and a test against chance.

Choices cluster twice: by participant, and by question, since everybody sees the same pictures.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from facecrafter.metrics.intervals import bootstrap
from facecrafter.metrics.proportions import Interval

PERMUTATIONS = 9999


def confusion(choices: Tensor, truth: Tensor, n_options: int) -> Tensor:
    """How often each option was chosen (column) where each was right (row), (K, K) int64.

    Args:
        choices: (P, Q) int64 in 0..K-1, of P participants for Q questions.
        truth: (Q,) int64 in 0..K-1.
        n_options: K.
    """
    cells = truth * n_options + choices
    return torch.bincount(cells.flatten(), minlength=n_options**2).reshape(n_options, n_options)


def macro_f1(table: Tensor) -> Tensor:
    """Mean over options of F1 = 2·hits / (times right + times chosen), for confusions (..., K, K) -> (...).

    An option that was never right and never chosen counts as 0.
    """
    hits = table.diagonal(dim1=-2, dim2=-1)
    total = table.sum(dim=-1) + table.sum(dim=-2)
    return (2 * hits / total.clamp(min=1)).mean(dim=-1)


def clustered_macro_f1(choices: Tensor, truth: Tensor, n_options: int, seed: int = 0) -> Interval:
    """Macro-F1 of ``choices`` (P, Q) for ``truth`` (Q,), with its bootstrap interval over participants."""
    tables = torch.stack([confusion(line[None], truth, n_options) for line in choices]).double()

    def resampled(weights: Tensor) -> Tensor:
        return macro_f1(torch.einsum("bp,pij->bij", weights, tables))

    return bootstrap(resampled, torch.arange(len(choices)), seed)


def chance_test(choices: Tensor, truth: Tensor, n_options: int, seed: int = 0) -> float:
    """P-value of the macro-F1 of ``choices`` (P, Q) if pictures say nothing about who is in them; one-sided.

    A randomisation test: which option of a question is right was drawn by lot, the same for everybody, so
    without recognition any other assignment of the right options to the questions was as likely. The choices
    stay as they are, with whatever participants have in common and a question suggests. With few questions
    there are few assignments: five questions cannot give less than 1/120.
    """
    rng = torch.Generator().manual_seed(seed)
    orders = torch.rand(PERMUTATIONS, len(truth), generator=rng).argsort(dim=1)
    observed = macro_f1(confusion(choices, truth, n_options).double())
    chosen = torch.stack([(choices == option).sum(dim=0) for option in range(n_options)], dim=1)
    right = F.one_hot(truth[orders], n_options)
    permuted = macro_f1(torch.einsum("bqi,qj->bij", right.double(), chosen.double()))
    as_good = int((permuted >= observed - 1e-9).sum())
    return (1 + as_good) / (1 + PERMUTATIONS)
