"""Matching: whose photograph is it, from the protected feature and the encoder's features of photographs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn

from facecrafter.crafter.layers import public_layer
from facecrafter.metrics.matching import Channel, matched
from facecrafter.metrics.same_person import SamePerson, person_means
from facecrafter.nets.withheld import Fill
from facecrafter.randomness import seeded
from lightning_modules.artifacts import Frozen, load_artifact
from lightning_modules.attackers.filling import FillingReader
from lightning_modules.checks import refuse_other_pairs, refuse_private_people
from lightning_modules.training import ClosedForm, SeededBatches, batches


class Matcher(ClosedForm, SeededBatches, FillingReader):
    """Compares a protected feature with the encoder's own features of photographs.

    No face recogniser and no image is needed. From raw features of public people it learns what stays with a
    person from one picture to the next and what does not (`SamePerson`), in the principal directions of the
    feature and of what f makes of it. With `start` it also learns, from pictures that the defence protected,
    what it does to them (`Channel`); without, that it does nothing.

    Args:
        encoder: artifact folder of the target network or defence whose features are matched.
        image_size: side of the images.
        layers: of f, behind the split, that are compared beside the feature.
        directions: principal directions of the feature and of each layer that are compared, at most so many;
            0 leaves it out. These were chosen on public people of CelebA at 32 pixels.
        start: artifact folder of a Matcher of raw features, of the same layers and directions, to go on from.
        queries: of how many queries the features that are matched will be the mean (A3).
        pictures: at most so many are learnt from, of people drawn by the run's seed.

    Raises:
        ValueError: a number is too small or missing, f has no such layer, or `start` compares something else
            or features of another encoder.
    """

    VERSION = 1
    describe = (
        "Encodes photographs of the private people, and compares by what stays with a person from one "
        "picture to the next, learnt on public people."
    )

    def __init__(
        self,
        encoder: str,
        image_size: int,
        layers: Sequence[str] = ("hidden",),
        directions: Sequence[int] = (384, 128),
        start: str | None = None,
        queries: int = 1,
        pictures: int = 16384,
    ) -> None:
        super().__init__(encoder)
        if min(directions, default=0) < 0 or min(sum(directions), queries, pictures) < 1:
            raise ValueError(
                f"directions={list(directions)} must not be negative nor all 0, and queries={queries} and "
                f"pictures={pictures} at least 1"
            )
        shape = self.shape_read(image_size)
        self.fill = Fill(shape)
        head = load_artifact(encoder, LightningModule).head
        self.names = ["feature", *layers]
        if len(directions) != len(self.names):
            raise ValueError(
                f"directions={list(directions)} must have a number for each of {', '.join(self.names)}"
            )
        self._behind = [Frozen(public_layer(head, name)) for name in layers]
        self.queries, self.pictures, self.start = queries, pictures, start
        with torch.no_grad():
            sizes = [part.shape[1] for part in self._parts(torch.zeros(1, *shape, device=self.device))]
        kept = [min(pair) for pair in zip(sizes, directions, strict=True)]
        for number, (size, few) in enumerate(zip(sizes, kept, strict=True)):
            self.register_buffer(f"centre_{number}", torch.zeros(size))
            self.register_buffer(f"basis_{number}", torch.zeros(size, few))
        total = sum(kept)
        for name in ("scale", "mean", "spread"):
            self.register_buffer(name, torch.zeros(total, dtype=torch.float64))
        # A parameter, as DDP asks for one.
        self.offset = nn.Parameter(torch.zeros(total, dtype=torch.float64))
        for name in ("axes", "gain", "noise"):
            self.register_buffer(name, torch.zeros(total, total, dtype=torch.float64))
        if start is not None:
            self._go_on_from(start)

    def _go_on_from(self, folder: str) -> None:
        before = load_artifact(folder, Matcher)
        theirs, own = ({name: buffer.shape for name, buffer in one.named_buffers()} for one in (before, self))
        if before.names != self.names or theirs != own:
            raise ValueError(
                f"the matcher in {folder} compares {before.names} in {len(before.scale)} directions, this "
                f"one {self.names} in {len(self.scale)}: start from one of the same layers, directions and "
                "image_size"
            )
        self.load_state_dict(before.state_dict())

    def setup(self, stage: str) -> None:
        """Refuses pairs of another encoder, and private people, whom it will tell apart."""
        refuse_private_people(self, stage, "a matcher")
        if stage == "fit":
            refuse_other_pairs(self)

    def solve(self) -> None:
        """Learn what stays with a person, or with a start what the defence does."""
        data = self.trainer.datamodule
        if self.start is None:
            self._learn_people(data.train_dataloader().dataset)
            return
        pairs = [part().dataset for part in (data.train_dataloader, data.val_dataloader)]
        raw, sent = (
            torch.cat(
                [
                    self.coordinates(read(batch))
                    for part in pairs
                    for batch in batches(self, part, torch.arange(len(part)))
                ]
            )
            for read in (self.raw_features_of, self.features_of)
        )
        self._set_channel(Channel.learn(raw, sent))

    def _learn_people(self, faces: Any) -> None:
        if not hasattr(faces, "identities"):
            raise ValueError(
                "what stays with a person is learnt from images of public people, not from answers to them: "
                "give the data module of the images, or the start that these pairs are for"
            )
        people = _whole_people(faces.identities, self.pictures, self._run_seed)
        found = [self._parts(self.raw_features_of(batch)) for batch in batches(self, faces, people)]
        identities = faces.identities[people].to(self.device)
        for number, parts in enumerate(zip(*found, strict=True)):
            self._learn_directions(number, parts)
        numbers = torch.cat([self._projected(list(parts)) for parts in found])
        self.scale.copy_(_within(numbers, identities))
        known = SamePerson.learn(numbers / self.scale, identities)
        self.mean.copy_(known.mean)
        self.axes.copy_(known.axes)
        self.spread.copy_(known.spread)
        self._set_channel(Channel.transparent(len(self.scale)))

    def _learn_directions(self, number: int, parts: Sequence[Tensor]) -> None:
        """Principal directions of one part, some of its N pictures (n, A) at a time; as many as there are
        pictures, the others stay zero."""
        basis = self.get_buffer(f"basis_{number}")
        if not basis.shape[1]:
            return
        x = torch.cat(list(parts))
        centre = x.mean(dim=0)
        kept = min(basis.shape[1], len(x))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._run_seed)
            # In place: of 10,000 pictures of 128 pixels it is gigabytes.
            _, _, directions = torch.svd_lowrank(x.sub_(centre), q=kept, niter=4)
        basis[:, :kept] = directions
        self.get_buffer(f"centre_{number}").copy_(centre)

    def _set_channel(self, channel: Channel) -> None:
        self.gain.copy_(channel.gain)
        self.offset.copy_(channel.offset)
        self.noise.copy_(channel.noise)

    @torch.no_grad()
    def coordinates(self, features: Tensor) -> Tensor:
        """Features (N, C, h, w) -> (N, K) float64, in which pictures of one person vary by one."""
        return self.people.coordinates(self._projected(self._parts(features)) / self.scale)

    @property
    def people(self) -> SamePerson:
        """What stays with a person."""
        return SamePerson(self.mean, self.axes, self.spread)

    @property
    def channel(self) -> Channel:
        """What the defence does."""
        return Channel(self.gain, self.offset.detach(), self.noise)

    def scores(
        self,
        sent: Tensor,
        known: Tensor,
        identities: Tensor,
        channel: Channel | None = None,
        known_by: Channel | None = None,
    ) -> Tensor:
        """Log-density of features, if they are of people with known photographs; see `matched`.

        Args:
            sent: coordinates of the features (N, K).
            known: those of the photographs (M, K).
            identities: whom these show (M,).
            channel: what was done to the features; without one, what the defence does.
            known_by: what was done to the photographs; without one, nothing.
        """
        return matched(self.people, channel or self.channel, sent, known, identities, self.queries, known_by)

    def _parts(self, features: Tensor) -> list[Tensor]:
        """The feature, filled, and what f makes of it in each layer, (N, n) each."""
        told = self.fill(features)
        behind = (layer.on(told.device)(told) for layer in self._behind)
        return [told.flatten(1), *(part.flatten(1) for part in behind)]

    def _projected(self, parts: Sequence[Tensor]) -> Tensor:
        named = ((self.get_buffer(f"centre_{n}"), self.get_buffer(f"basis_{n}")) for n in range(len(parts)))
        return torch.cat(
            [(part - centre) @ basis for part, (centre, basis) in zip(parts, named, strict=True)], dim=1
        ).double()


def _whole_people(identities: Tensor, pictures: int, seed: int) -> Tensor:
    """Positions of all pictures of people drawn by lot, up to so many pictures, sorted."""
    _, person = torch.unique(identities, return_inverse=True)
    lot = torch.randperm(int(person.max()) + 1, generator=seeded(seed))
    return torch.argsort(lot[person], stable=True)[:pictures].sort().values


def _within(numbers: Tensor, identities: Tensor) -> Tensor:
    """By how much the numbers (N, K) of one person vary (K,), one where they do not."""
    known, person = torch.unique(identities, return_inverse=True)
    apart = numbers - person_means(numbers, person, len(known))[person]
    varies = apart.square().sum(dim=0) / max(1, len(numbers) - len(known))
    return torch.where(varies > 0, varies.sqrt(), 1.0)
