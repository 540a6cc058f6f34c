"""What an oracle makes of photographs is kept, and never taken for another oracle's or photograph's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lightning_modules.networks.embeddings import clean_embeddings
from lightning_modules.networks.oracle import IdentityOracle

N = 40


class Recorder(IdentityOracle):
    """A linear embedding that counts what it is shown; `gain` is an argument that no weight tells of."""

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(48, 5)
        self.gain = gain
        self.seen = 0

    def embed(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return self.gain * self.linear(images.flatten(1))

    def enrol(self, embeddings: Tensor, identities: Tensor) -> None: ...

    def scores(self, embeddings: Tensor) -> Tensor:
        return embeddings


@pytest.fixture
def images() -> Tensor:
    return torch.rand(N, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def embedded(oracle: IdentityOracle, images: Tensor, folder: Path) -> Tensor:
    return clean_embeddings(oracle, images.__getitem__, len(images), folder, torch.device("cpu"))


def test_the_second_time_only_the_probe_is_embedded(images: Tensor, tmp_path: Path) -> None:
    """Else every attack of a study embeds thousands of photographs again."""
    first, second = Recorder(), Recorder()
    found = embedded(first, images, tmp_path / "new")
    torch.testing.assert_close(found, first.embed(images).detach())
    assert torch.equal(embedded(second, images, tmp_path / "new"), found)
    assert second.seen < N / 2 < first.seen


def test_other_weights_arguments_and_photographs_are_embedded_anew(images: Tensor, tmp_path: Path) -> None:
    """A stale embedding would measure every attack against the wrong oracle, and nothing would show it."""
    embedded(Recorder(), images, tmp_path)
    retrained = Recorder()
    with torch.no_grad():
        retrained.linear.weight[0, 0] += 1e-3
    last = images.clone()
    last[-1, 0, 0, 0] += 1 / 255
    for oracle, shown in ((retrained, images), (Recorder(gain=2.0), images), (Recorder(), last)):
        found = embedded(oracle, shown, tmp_path)
        torch.testing.assert_close(found, oracle.embed(shown).detach())
    assert len(list(tmp_path.iterdir())) == 4


def test_a_damaged_file_is_made_again(images: Tensor, tmp_path: Path) -> None:
    found = embedded(Recorder(), images, tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    assert torch.equal(embedded(Recorder(), images, tmp_path), found)
    assert torch.equal(embedded(Recorder(), images, tmp_path), found), "and whole again"


def test_embeddings_of_private_people_are_for_their_owner_alone(images: Tensor, tmp_path: Path) -> None:
    embedded(Recorder(), images, tmp_path)
    (file,) = tmp_path.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
