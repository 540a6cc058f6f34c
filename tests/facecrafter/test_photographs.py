"""Photographs in, features out, in the library alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fake_faces import save_face
from torch import Tensor, nn

from facecrafter.crafter.codebook import Codebook
from facecrafter.crafter.release import DownToCrafted, Stranger
from facecrafter.photographs import decoy, find, protect, read


class Generator(nn.Sequential):
    """Latents (N, 4) -> images (N, 3, 32, 32)."""

    latent_dim = 4

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 3 * 32 * 32), nn.Sigmoid(), nn.Unflatten(1, (3, 32, 32)))


def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU()), Generator()


def test_one_image_is_crafted_alone_and_the_same_each_time() -> None:
    """No other people's images are needed on a device."""
    encoder, generator = (network.eval().requires_grad_(False) for network in networks())
    images = torch.rand(1, 3, 32, 32)
    first, second = (protect(images, encoder, generator, iterations=3, beta=0.5) for _ in range(2))
    raw: Tensor = encoder(images)
    assert first.shape == raw.shape
    assert torch.equal(first, second)
    assert not torch.equal(first, raw)
    assert torch.isfinite(first).all()


def test_with_the_head_the_answers_alone_may_leave_the_device() -> None:
    """As in docs/protect.md: the cloud reads what it reads of the crafted one, all else is a stranger's."""
    encoder, generator = (network.eval().requires_grad_(False) for network in networks())
    head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 16 * 16, 2)).requires_grad_(False)
    images = torch.rand(1, 3, 32, 32)
    release = DownToCrafted(steps=100, of=Stranger())
    crafted, released, stranger = (
        protect(images, encoder, generator, iterations=3, beta=2, head=head, release=what)
        for what in (None, release, Stranger())
    )
    assert (head(released) - head(crafted)).norm() < 0.05 * (head(stranger) - head(crafted)).norm()
    assert (released - stranger).norm() < 0.5 * (crafted - stranger).norm()


def test_a_decoy_has_the_answers_of_a_face_and_nothing_else_of_it() -> None:
    """As in docs/protect.md. Were the stranger drawn with a look at the face, or its answers those of the
    stranger, it would protect nobody or serve nobody."""
    encoder, generator = (network.eval().requires_grad_(False) for network in networks())
    head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 16 * 16, 2)).requires_grad_(False)
    one, other = torch.rand(2, 1, 3, 32, 32)
    found = [decoy(images, encoder, generator, head) for images in (one, other)]
    for images, feature in zip((one, other), found, strict=True):
        torch.testing.assert_close(head(feature), head(encoder(images)), rtol=1e-3, atol=1e-4)
    # What tells the two apart lies where the head reads, and nowhere else.
    rows = torch.linalg.svd(head[1].weight, full_matrices=False).Vh
    apart = (found[0] - found[1]).flatten()
    assert (apart - rows.T @ (rows @ apart)).norm() < 1e-3 * apart.norm()
    assert not torch.equal(found[0], decoy(one, encoder, generator, head, seed=1)), "another stranger"


def test_of_a_decoy_with_few_words_the_word_is_all_that_is_left() -> None:
    """As in docs/protect.md: faces of one word are sent alike."""
    encoder, generator = (network.eval().requires_grad_(False) for network in networks())
    head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 16 * 16, 2)).requires_grad_(False)
    public = torch.rand(40, 1, 1, 1) * torch.rand(40, 3, 32, 32)
    codebook = Codebook(answers=2, bits=2).requires_grad_(False)
    codebook.learn(head(encoder(public)))
    words = codebook(head(encoder(public)))
    found = [decoy(images[None], encoder, generator, head, keep=codebook) for images in public[:12]]
    for one, word in zip(found, words, strict=False):
        torch.testing.assert_close(head(one)[0], word, rtol=1e-3, atol=1e-3)
        alike = [other for other, theirs in zip(found, words, strict=False) if torch.equal(word, theirs)]
        assert all(torch.equal(one, other) for other in alike)
    assert 2 <= len(words[:12].unique(dim=0)) < 12


def test_pictures_are_found_below_a_folder_once_and_litter_is_none(tmp_path: Path) -> None:
    for name in ("b.png", "deep/er/a.jpg", ".hidden/c.png"):
        save_face(tmp_path / name, person=0, number=0, width=40, height=40)
    (tmp_path / "deep" / "up").symlink_to(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in find(tmp_path)] == ["b.png", "deep/er/a.jpg"]
    assert find(tmp_path / "b.png") == [tmp_path / "b.png"]
    assert read(find(tmp_path), 8).shape == (2, 3, 8, 8)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        find(tmp_path / "nowhere")
