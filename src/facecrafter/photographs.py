"""Photographs as they come, without labels, and what leaves the device in their place.

images = read(["me.jpg"], size=64)
features = protect(images, encoder, generator, beta=0.5)
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facecrafter.crafter.crafting import FeatureCrafting
from facecrafter.crafter.inversion import AttackerModel
from facecrafter.crafter.release import Crafted, DownToFloor, DownToKept
from facecrafter.data.decode import bounded, decode
from facecrafter.data.folders import folders_in, pictures_in
from facecrafter.data.refusals import Refusals
from facecrafter.randomness import seeded

ROOM = 2**30
"""Bytes of pixels that `read_ahead` keeps: 87,000 pictures of 64 pixels."""
NOTHING: Mapping[str | Path, NDArray[np.uint8]] = MappingProxyType({})


def find(folder: str | Path) -> list[Path]:
    """All pictures at or below a folder, by name; or the one picture that is named.

    Raises:
        FileNotFoundError: there is nothing of that name.
        ValueError: there is no picture in the folder, or it may not be read.
    """
    folder = Path(folder)
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such picture or folder")
    found = sorted(_below(folder, seen=frozenset()))
    if not found:
        raise ValueError(
            f"{folder}: no picture in it or below; a picture ends in .jpg, .png or the like, and HEIC has to "
            "be converted"
        )
    return found


def _below(folder: Path, seen: frozenset[Path]) -> Iterator[Path]:
    here = folder.resolve()
    if here in seen:  # a link to a folder above
        return
    yield from (folder / name for name in pictures_in(folder).names)
    for name in folders_in(folder):
        yield from _below(folder / name, seen | {here})


def fingerprint(files: Mapping[str, Path], key: bytes) -> str:
    """HMAC-SHA256 over the names and contents of some pictures: who lacks the key cannot try pictures on it.

    What cannot be read counts by its name alone: `read` says why.
    """
    digest = hmac.new(key, digestmod="sha256")
    for name, file in files.items():
        digest.update(name.encode(errors="surrogateescape") + b"\n")
        try:
            digest.update(hashlib.sha256(bounded(file)).digest())
        except (ValueError, FileNotFoundError):
            continue
    return digest.hexdigest()


def read(
    files: Sequence[str | Path],
    size: int,
    crop: int | None = None,
    known: Mapping[str | Path, NDArray[np.uint8]] = NOTHING,
) -> Tensor:
    """Images (N, 3, size, size) in [0, 1]: the centred square of `crop` pixels of each file, or the largest.

    Args:
        known: what `read_ahead` has kept, of the same size and crop.

    Raises:
        ValueError: some are not there or no pictures; every one of them is named.
    """
    decoded = dict(_decoded([file for file in files if file not in known], size, crop))
    pixels = [decoded[file] if file in decoded else known[file] for file in files]
    return torch.from_numpy(np.stack(pixels)).float() / 255


def _decoded(
    files: Sequence[str | Path], size: int, crop: int | None
) -> Iterator[tuple[str | Path, NDArray[np.uint8]]]:
    """Each file and its pixels (3, size, size); what is no picture is refused behind the last, at once."""
    refused = Refusals()
    for file in files:
        try:
            pixels = decode(Path(file), size, crop)[0]
        except (ValueError, FileNotFoundError) as error:
            refused.add(str(error))
        else:
            yield file, pixels
    refused.check(f"{{}} of {len(files)} pictures cannot be used")


def read_ahead(
    files: Sequence[str | Path], size: int, crop: int | None = None, room: int = ROOM
) -> dict[str | Path, NDArray[np.uint8]]:
    """See that every file can be read, and keep the pixels (3, size, size) of the first ones.

    Args:
        room: bytes that these may take; the others are read again when they are needed.

    Raises:
        ValueError: see `read`.
    """
    kept: dict[str | Path, NDArray[np.uint8]] = {}
    for file, pixels in _decoded(files, size, crop):
        if (room := room - pixels.nbytes) >= 0:
            kept[file] = pixels
    return kept


def left_out(folder: str | Path, files: Sequence[Path]) -> list[Path]:
    """What else than the pictures `files` lies in a folder or below it, hidden files left aside."""
    found = Path(folder).rglob("*")
    return sorted({path for path in found if path.is_file() and path.name[0] != "."} - set(files))


def protect(
    images: Tensor,
    encoder: nn.Module,
    generator: nn.Module,
    iterations: int = 40,
    seed: int = 0,
    **crafting: Any,
) -> Tensor:
    """Crafter's features of images, crafted together: one is enough.

    Args:
        images: (N, 3, H, H) in [0, 1], on the networks' device.
        encoder: images -> features (N, C, h, w).
        generator: latents (N, d) -> images in [0, 1]: what average faces look like.
        iterations: of the while loop.
        seed: of everything random.
        crafting: settings of `FeatureCrafting`, such as `beta`.

    Returns:
        (N, C, h, w), what leaves the device.
    """
    loop = FeatureCrafting(AttackerModel(encoder, generator, "auto"), **crafting)
    state = loop.start(images, seeded(seed))
    while state.iteration < iterations:
        loop.step(state)
    return loop.released(state)


@torch.no_grad()
def decoy(
    images: Tensor,
    encoder: nn.Module,
    generator: nn.Module,
    head: nn.Module,
    seed: int = 0,
    keep: nn.Module | None = None,
) -> Tensor:
    """Features of strangers, from which the head reads what it reads of these images; nothing is crafted.

    Whoever has them learns no more of a face than the head's answers say
    (`facecrafter.crafter.release.DownToFloor`), or than what is kept of these.

    Args:
        images, encoder, generator, seed: see `protect`.
        head: features -> answers, the cloud's f behind the encoder.
        keep: answers (N, A) -> what is kept of them (N, A), such as a `facecrafter.crafter.codebook.Codebook`
            that has learnt from answers to public people; None keeps all.

    Returns:
        (N, C, h, w), what leaves the device.
    """
    model, raw = AttackerModel(encoder, generator, "32"), encoder(images)
    strangers = model.latents(raw, seeded(seed))
    release = DownToFloor() if keep is None else DownToKept(keep)
    return release(Crafted(raw, raw, strangers, model, head))
