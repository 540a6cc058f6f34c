"""A judge of attacks on public people, by whom an attacker chooses the attack's settings."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from datamodules.faces import FaceDataModule
from experiments.evaluation.batches import in_batches, of_photographs
from facecrafter.metrics import identified, person_scores
from lightning_modules.networks.oracle import IdentityOracle


@dataclass(frozen=True, order=True)
class Score:
    """How well an attack does; a better one is larger.

    Attributes:
        identified: share of the images that show the right person.
        margin: mean cosine to the right person's photographs, less that to all people's: it tells attacks
            apart that identify as many.
    """

    identified: float
    margin: float


class PublicJudge:
    """An oracle that knows public people from those of their photographs that are not attacked.

    Of whom all are attacked, the first one is known in place of being judged.

    Args:
        oracle: who embeds photographs, on `device()`.
        data: the faces; the people are those of public_val, with whom no network of an attacker is trained.
        rows: (N,) int64, the images that are attacked.

    Attributes:
        people: among whom it chooses.

    Raises:
        ValueError: fewer than two people have another photograph, or nobody is left to be judged.
    """

    def __init__(self, oracle: IdentityOracle, data: FaceDataModule, rows: Tensor) -> None:
        faces = data.faces("public_val")
        self.oracle = oracle
        # Who is attacked with every photograph gives one up to be known by.
        is_known = ~torch.isin(faces.rows, rows)
        for person in set(faces.identities.tolist()) - set(faces.identities[is_known].tolist()):
            is_known[(faces.identities == person).nonzero()[0, 0]] = True
        known = is_known.nonzero()[:, 0]
        people, numbers = faces.identities[known].unique(return_inverse=True)
        who = faces.identities[torch.searchsorted(faces.rows, rows)]
        self.judged = ~torch.isin(rows, faces.rows[known])
        if len(people) < 2 or not self.judged.any():
            raise ValueError(
                f"public_val has {len(people)} people, and {int(self.judged.sum())} photographs to judge "
                "beside those that they are known by: raise the data's val_fraction"
            )
        self.identities = torch.searchsorted(people, who[self.judged])
        self.gallery = of_photographs(oracle.embed, lambda at: faces.images(known[at]), len(known))
        self.gallery_identities = numbers
        self.people = len(people)

    def score(self, images: Tensor) -> Score:
        """Of reconstructions (N, 3, H, W) of the rows, in their order; whom it does not know is left out."""
        embeddings = in_batches(self.oracle.embed, images[self.judged])
        scores = person_scores(embeddings, self.gallery, self.gallery_identities)
        right = scores.gather(1, self.identities[:, None])[:, 0]
        hits = identified(scores, self.identities).double().mean().item()
        # Few people are judged, so attacks often tie: the margin decides then.
        return Score(hits, (right - scores.mean(dim=1)).mean().item())
