"""What of an answer says most of what it answers, and nothing of the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEAST = 1e-6
"""Of the largest variance, or of an answer's own, that counts."""


class ReducedRank(nn.Module):
    """a' = μ + (a − μ) W U_k U_kᵀ W⁻¹ S: of A answers the k combinations that tell most of the attributes.

    With W = Σ^(−½), Σ the covariance of the answers, U_k are the leading left singular vectors of Cov(aW, y),
    y the attributes in units in which they vary by one: reduced-rank regression (Izenman 1975). S is diagonal
    and gives each answer the spread that it had, for which f's thresholds are made. Whoever sees a' knows k
    numbers of a, and nothing else of it that tells people apart. An answer of which these hold next to
    nothing is its mean, whosever it is.

    Args:
        answers: A.

    Attributes:
        rank: k; all of A until it is set.
        mean: μ (A,).
        directions: W U (A, A), the combination that tells most in the first column.
        parts: Uᵀ W⁻¹ (A, A), what each combination is of the answers.
    """

    def __init__(self, answers: int) -> None:
        super().__init__()
        self.rank = answers
        self.mean = nn.Parameter(torch.zeros(answers))
        self.directions = nn.Parameter(torch.eye(answers))
        self.parts = nn.Parameter(torch.eye(answers))

    def forward(self, answers: Tensor) -> Tensor:
        """(N, A) -> (N, A)."""
        kept = self.parts[: self.rank]
        # Combinations vary by one and do not go together: variances are sums of squares.
        share = kept.square().sum(dim=0) / self.parts.square().sum(dim=0)
        spread = torch.where(share > LEAST, share.clamp(min=LEAST).rsqrt(), 0.0)
        return self.mean + (answers - self.mean) @ self.directions[:, : self.rank] @ kept * spread

    @torch.no_grad()
    def learn(self, answers: Tensor, attributes: Tensor) -> Tensor:
        """Find the combinations.

        Args:
            answers: (N, A).
            attributes: (N, Y); one that does not vary tells nothing.

        Returns:
            Of each combination the share of all attributes' variance that it tells (min(A, Y),), descending.

        Raises:
            ValueError: no answer varies.
        """
        x, y = answers.double(), attributes.double()
        mean = x.mean(dim=0)
        x, y = x - mean, y - y.mean(dim=0)
        variances, axes = torch.linalg.eigh(x.T @ x / len(x))
        if not variances[-1] > 0:
            raise ValueError("none of f's answers varies from one picture to the next")
        # What is made of other answers, or of too few pictures, tells nothing and is kept last.
        root = variances.clamp(min=LEAST * variances[-1]).sqrt()
        y = y / y.square().mean(dim=0).sqrt().clamp(min=torch.finfo(y.dtype).tiny)
        found, tells, _ = torch.linalg.svd((x @ (axes / root)).T @ y / len(x), full_matrices=True)
        self.mean.copy_(mean)
        self.directions.copy_(axes / root @ found)
        self.parts.copy_(found.T @ (axes * root).T)
        shares: Tensor = tells.square() / y.shape[1]
        return shares
