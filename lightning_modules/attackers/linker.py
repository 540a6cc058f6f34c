"""Linkage: whose photograph is it, from the protected feature and without any image of the attacker's own."""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F

from facecrafter import ranks
from facecrafter.nets.withheld import Fill
from facecrafter.store import encoder_hash
from lightning_modules.artifacts import Frozen, load_artifact
from lightning_modules.attackers.filling import FillingReader
from lightning_modules.attackers.identifier import with_outputs
from lightning_modules.checks import refuse_other_pairs, refuse_private_people
from lightning_modules.networks.embeddings import clean_embeddings
from lightning_modules.networks.oracle import IdentityOracle
from lightning_modules.training import ClosedForm, SeededBatches, batches

PENALTIES = tuple(10.0**power for power in range(-4, 3))
"""Of ridge regression, in units of the mean squared feature; the held-out people decide."""


TEMPERATURE = 0.1
"""Of the cosines in NetworkLinker's cross-entropy."""


class Linker(SeededBatches, FillingReader):
    """Learns protected feature -> embedding of a network that knows faces, on the attacker's own pairs (A1).

    What it makes of a private feature stands among the embeddings of photographs as the image would have:
    whoever has photographs of the private people names whom the feature shows. No image is reconstructed, and
    no private person was ever seen together with a feature.

    Learnt is where an embedding stands from the mean face. Whoever regresses is drawn to the mean, and people
    with a common face would be named for everybody.

    Args:
        encoder: artifact folder of the defence whose features are linked.
        oracle: who embeds photographs: an artifact folder, or the network itself.
        image_size: side of the images.
        layers: of f, behind the split, that are read in place of the feature; see FeatureReader.

    Attributes:
        inputs: numbers in what is read of one feature.
        mean: that of the photographs' embeddings (E,).
    """

    def __init__(
        self,
        encoder: str,
        oracle: str | IdentityOracle,
        image_size: int,
        layers: dict[str, float] | None = None,
    ) -> None:
        super().__init__(encoder, layers)
        known = load_artifact(oracle, IdentityOracle) if isinstance(oracle, str) else oracle
        self.oracle = Frozen(known)
        with torch.no_grad():
            numbers = known.embed(torch.full((2, 3, image_size, image_size), 0.5)).shape[1]
        shape = self.shape_read(image_size)
        self.inputs = torch.Size(shape).numel()
        self.fill = Fill(shape)
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(numbers))
        self._known: dict[int, Tensor] = {}  # where a photograph stands, by row

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """h(F) -> where it stands from the mean face (N, E), in units of no meaning."""

    def embed(self, features: Tensor) -> Tensor:
        """Features (N, C, h, w) -> directions (N, E) from the mean face, in the oracle's space."""
        return F.normalize(self.network(self.read(features)))

    def setup(self, stage: str) -> None:
        """Refuses pairs of another encoder, and private people, of whom an attacker has no photographs."""
        refuse_private_people(self, stage, "a linker")
        if stage == "fit":
            refuse_other_pairs(self)

    def on_fit_start(self) -> None:
        """Embed the attacker's photographs, once for all epochs, and find their mean."""
        super().on_fit_start()
        data = self.trainer.datamodule
        trained, held_out = (
            self._photographs(part().dataset) for part in (data.train_dataloader, data.val_dataloader)
        )
        self.mean.copy_(self.mean_face(trained.values()))
        self._known = {row: face - self.mean for row, face in {**held_out, **trained}.items()}

    def mean_face(self, faces: Iterable[Tensor]) -> Tensor:
        """Where the mean face stands (E,), of the attacker's own photographs' unit embeddings (E,)."""
        return torch.stack(list(faces)).mean(dim=0)

    def _photographs(self, faces: Any) -> dict[int, Tensor]:
        """Unit embeddings (E,) by row."""
        folder, barrier = self.trainer.datamodule.cache_dir, self.trainer.strategy.barrier
        if not self.trainer.is_global_zero:
            barrier()  # the first rank writes down what the others then read
        oracle = self.oracle.on(self.device)
        found = clean_embeddings(oracle, faces.images, len(faces), folder, self.device)
        if self.trainer.is_global_zero:
            barrier()
        return dict(zip(faces.rows.tolist(), F.normalize(found.float()).to(self.device), strict=True))

    @torch.no_grad()
    def _pairs(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """h(F), filled, and where their photographs stand."""
        stand = torch.stack([self._known[row] for row in batch["row"].tolist()])
        return self.fill(self.read(self.features_of(batch))), stand


class RidgeLinker(ClosedForm, Linker):
    """The simplest: ridge regression, solved once, its penalty chosen by people who are held out.

    With `start` the map is drawn to one of that linker's, not to zero. Raw features of all public pictures
    cost an attacker nothing, while a defence answers some queries: who has both begins with what the many
    teach. What the defence adds to a feature acts as a penalty would (noise of variance v in every
    coordinate adds N·v to λ; Bishop 1995), so the start is the map of that much heavier a penalty. The people
    held out cannot choose it: the start has seen them, and knows them best where it is least penalised. They
    choose what is learnt from the pairs, the start itself among it.

    Args:
        encoder, oracle, image_size, kwargs: see Linker.
        start: artifact folder of a RidgeLinker of the same layers and oracle to go on from, such as one of
            raw features.
        queries: of how many queries the features that are linked will be the mean (A3): what a defence adds
            to them is that much weaker than in the pairs.
        mirror: every image is learnt from as it is and mirrored (only where features are computed here).

    Attributes:
        map: the one that was chosen.
        weights, biases: of the maps of all penalties (P, E, D) and (P, E), to go on from; none of one with
            a `start`.
        chosen: which penalty the people held out chose; of one with a `start`, that of the start.
        pairs: N, from which it learned, mirrored ones among them.

    Raises:
        ValueError: `start` reads something else, leads to another oracle's embeddings, or went on from
            another itself; `queries` is below 1.
    """

    VERSION = 7
    describe = (
        "Had own photographs protected: a linear map, learnt from these pairs, leads from features to a face "
        "recogniser's embeddings, where photographs of the private people are."
    )

    def __init__(
        self,
        encoder: str,
        oracle: str | IdentityOracle,
        image_size: int,
        start: str | None = None,
        queries: int = 1,
        mirror: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, oracle, image_size, **kwargs)
        if queries < 1:
            raise ValueError(f"queries={queries} must be at least 1")
        self.queries = queries
        self.mirror = mirror
        self.map = nn.Linear(self.inputs, len(self.mean))
        nn.init.zeros_(self.map.weight)
        nn.init.zeros_(self.map.bias)
        kept = len(PENALTIES) if start is None else 0
        self.weights: Tensor
        self.biases: Tensor
        self.register_buffer("weights", torch.zeros(kept, *self.map.weight.shape))
        self.register_buffer("biases", torch.zeros(kept, *self.map.bias.shape))
        self.chosen: Tensor
        self.pairs: Tensor
        self.register_buffer("chosen", torch.tensor(0))
        self.register_buffer("pairs", torch.tensor(0))
        self.start = start
        self._before = None if start is None else Frozen(self._started(start))

    def _started(self, folder: str) -> RidgeLinker:
        """The linker in `folder`; its choice and mean face are this one's until it is fitted."""
        before = load_artifact(folder, RidgeLinker)
        if before.layers != self.layers or before.map.weight.shape != self.map.weight.shape:
            raise ValueError(
                f"the linker in {folder} leads from {before.layers or 'features'} of {before.inputs} numbers "
                f"to embeddings of {len(before.mean)}, this one from {self.layers or 'features'} of "
                f"{self.inputs} to {len(self.mean)}: start from a linker of the same layers, image_size "
                "and oracle"
            )
        theirs, own = (linker.oracle.on(self.device) for linker in (before, self))
        if type(theirs) is not type(own) or encoder_hash(theirs) != encoder_hash(own):
            raise ValueError(
                f"the linker in {folder} leads to the embeddings of another {type(theirs).__name__}, where "
                f"each direction means something else than to this {type(own).__name__}: start from a linker "
                "of the same oracle"
            )
        if not len(before.weights):
            raise ValueError(f"the linker in {folder} has a start itself: name that one")
        self.map.load_state_dict(before.map.state_dict())
        self.mean.copy_(before.mean)
        self.fill_as(before)
        return before

    @property
    def network(self) -> nn.Module:
        return nn.Sequential(self.fill, nn.Flatten(), self.map)

    def mean_face(self, faces: Iterable[Tensor]) -> Tensor:
        return super().mean_face(faces) if self.start is None else self.mean

    def solve(self) -> None:
        """Solve for every penalty, and keep the map that brings the held-out people nearest."""
        data = self.trainer.datamodule
        train = data.train_dataloader().dataset
        x, y = self._all_pairs(train, self.mirror)
        held_out = self._all_pairs(data.val_dataloader().dataset)
        self.pairs.fill_(len(x))
        if self.start is None:
            maps = ridge(x, y, PENALTIES)
            self.weights.copy_(torch.stack([weight for weight, _ in maps]))
            self.biases.copy_(torch.stack([bias for _, bias in maps]))
        else:
            weight, bias = self._start_map(train, x)
            changes = ridge(x, y - F.linear(x, weight, bias), PENALTIES)
            maps = [*((weight + more, bias + shift) for more, shift in changes), (weight, bias)]
        cosines = [F.cosine_similarity(F.linear(held_out[0], *one), held_out[1]).mean() for one in maps]
        best = int(torch.stack(cosines).argmax())
        if self.start is None:
            self.chosen.fill_(best)
        self.map.weight.copy_(maps[best][0])
        self.map.bias.copy_(maps[best][1])
        self.log("val/cosine", cosines[best], prog_bar=True)

    def _start_map(self, pairs: Any, protected: Tensor) -> tuple[Tensor, Tensor]:
        """The start's map of the penalty that suits features (N, D) which the defence has protected."""
        assert self._before is not None
        before = self._before.on(self.device)
        assert isinstance(before, RidgeLinker)
        raw = torch.cat([self._raw(batch) for batch in self._batches(pairs, self.mirror)])
        added, spread = ((x - x.mean(dim=0)).double().square().mean() for x in (protected - raw, raw))
        # λ is in units of the mean squared distance of a feature from their mean: D times the `spread`.
        more = float(before.pairs * added / (self.queries * raw.shape[1] * spread))
        suits = PENALTIES[int(before.chosen)] + more
        nearest = min(range(len(PENALTIES)), key=lambda at: abs(math.log(PENALTIES[at] / suits)))
        self.chosen.fill_(nearest)
        return before.weights[nearest], before.biases[nearest]

    @torch.no_grad()
    def _raw(self, batch: dict[str, Tensor]) -> Tensor:
        """h of the images' own features (N, D), which an attacker computes."""
        return self.read(self.raw_features_of(batch)).flatten(1)

    def _all_pairs(self, pairs: Any, mirror: bool = False) -> tuple[Tensor, Tensor]:
        """h(F) (N, D) of all these pairs, and where their photographs stand (N, E); see `_batches`."""
        read, stand = zip(*map(self._pairs, self._batches(pairs, mirror)), strict=True)
        return torch.cat(read).flatten(1), torch.cat(stand)

    def _batches(self, pairs: Any, mirror: bool) -> Iterator[dict[str, Tensor]]:
        """All these pairs, a few at a time; with `mirror` images come mirrored, too, of the same rows."""
        for batch in batches(self, pairs, torch.arange(len(pairs))):
            yield batch
            if mirror and "features" not in batch:
                yield {**batch, "image": batch["image"].flip(3)}


class NetworkLinker(Linker):
    """A network: f itself with an embedding as its answer, or behind the split a small one of two layers.

    It starts at f's weights, which the cloud has. After every epoch people who are held out are looked at:
    the weights that suit them best are kept, and training ends when they have not improved for some time.

    Args:
        encoder, oracle, image_size, kwargs: see Linker.
        width: units between the two layers of a network behind the split.
        dropout: share of what the network reads that is hidden from it while it learns.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        contrast: weight of the cross-entropy between a photograph and the others of its batch.
        patience: epochs without improvement until training ends.
    """

    VERSION = 3
    describe = (
        "Had own photographs protected: a network, trained on these pairs, leads from features to a face "
        "recogniser's embeddings, where photographs of the private people are."
    )

    def __init__(
        self,
        encoder: str,
        oracle: str | IdentityOracle,
        image_size: int,
        width: int = 512,
        dropout: float = 0.2,
        learning_rate: float = 5e-4,
        weight_decay: float = 0.05,
        contrast: float = 0.1,
        patience: int = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, oracle, image_size, **kwargs)
        self.trained = (
            behind_split(self.inputs, width, len(self.mean), dropout)
            if self.layers
            else nn.Sequential(nn.Dropout2d(dropout), with_outputs(_head(encoder), len(self.mean)))
        )
        # What an attack uses is that of the best epoch, not of the last.
        self.best = copy.deepcopy(self.trained).requires_grad_(False)
        # Buffers, so that a resumed training knows how well the epochs before did.
        self.best_cosine: Tensor
        self.register_buffer("best_cosine", torch.tensor(-torch.inf))
        self.waited: Tensor
        self.register_buffer("waited", torch.zeros((), dtype=torch.int64))
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.contrast = contrast
        self.patience = patience

    @property
    def network(self) -> nn.Module:
        return nn.Sequential(self.fill, self.best)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = self._loss(batch)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def _loss(self, batch: dict[str, Tensor]) -> Tensor:
        """How far from where its photograph stands, and how hard to tell from the others of the batch."""
        features, stand = self._pairs(batch)
        linked = ranks.gathered(F.normalize(self.trained(features)))
        cosines = linked @ F.normalize(ranks.gathered(stand)).T
        own = torch.arange(len(cosines), device=cosines.device)
        return 1 - cosines.diagonal().mean() + self.contrast * F.cross_entropy(cosines / TEMPERATURE, own)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        features, stand = self._pairs(batch)
        cosine = F.cosine_similarity(self.trained(features), stand).mean()
        self.log("val/cosine", cosine, prog_bar=True, sync_dist=True, batch_size=len(stand))

    def on_train_epoch_end(self) -> None:
        """Keep what is best so far; the validation of this epoch is over."""
        cosine = self.trainer.callback_metrics["val/cosine"].detach()
        if cosine > self.best_cosine:
            self.best_cosine.copy_(cosine)
            self.best.load_state_dict(self.trained.state_dict())
            self.waited.zero_()
        else:
            self.waited += 1
        if self.waited >= self.patience:
            self.trainer.should_stop = True

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(
            self.trained.parameters(), self.learning_rate, weight_decay=self.weight_decay, fused=True
        )


def ridge(inputs: Tensor, outputs: Tensor, penalties: tuple[float, ...]) -> list[tuple[Tensor, Tensor]]:
    """Weight (E, D) and bias (E,) of the linear map with the least Σ‖W x + b − y‖² + λ‖W‖², for every λ.

    Solved in as many unknowns as there are pairs or coordinates, whichever are fewer.

    Args:
        inputs: (N, D).
        outputs: (N, E).
        penalties: λ in units of the mean squared distance of an input from their mean.
    """
    # In float64: a matrix of products has the square of the features' own condition number.
    x, y = inputs.double(), outputs.double()
    x_mean, y_mean = x.mean(dim=0), y.mean(dim=0)
    x, y = x - x_mean, y - y_mean
    unit = x.square().sum().clamp_min(torch.finfo(x.dtype).tiny) / len(x)
    is_wide = x.shape[1] > len(x)
    products = x @ x.T if is_wide else x.T @ x
    of_outputs = y if is_wide else x.T @ y
    penalised = products.diagonal()
    diagonal = penalised.clone()
    found = []
    for penalty in penalties:
        penalised.copy_(diagonal + penalty * unit)
        solved = torch.cholesky_solve(of_outputs, torch.linalg.cholesky(products))
        weight = (x.T @ solved if is_wide else solved).T
        found.append((weight.to(inputs), (y_mean - weight @ x_mean).to(inputs)))
    return found


def behind_split(inputs: int, width: int, outputs: int, dropout: float) -> nn.Module:
    """A network of two layers, which reads what f makes of a feature whatever its scale is."""
    return nn.Sequential(
        nn.Flatten(),
        nn.LayerNorm(inputs),
        nn.Dropout(dropout),
        nn.Linear(inputs, width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(width, outputs),
    )


def _head(folder: str) -> nn.Module:
    head = load_artifact(folder, LightningModule).head
    assert isinstance(head, nn.Module)
    return head
