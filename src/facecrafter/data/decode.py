"""Files to pixels: bounded, square, hashed; every failure names the file."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64 * 10**6
"""A picture beyond these bounds is refused before it is decoded: a small file can unpack to gigabytes."""

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP")
Pixels = NDArray[np.uint8]


def decode(path: Path, size: int, crop: int | None) -> tuple[Pixels, str]:
    """Pixels (3, size, size) of the picture's centre, and the sha256 of the file, which is read once.

    The centred square of ``crop`` pixels (None: the largest) is resized with an antialiasing filter.
    Raises ValueError for a file that is no picture, is cut short, is too large, or is smaller than the crop.
    """
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: larger than {MAX_BYTES // 2**20} MiB")
    content = path.read_bytes()
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as picture:
            pixels = _centre(picture, path, size, crop)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path}: cannot be read as a picture: truncated, damaged or no image ({error})"
        ) from error
    return pixels, hashlib.sha256(content).hexdigest()


def _centre(picture: Image.Image, path: Path, size: int, crop: int | None) -> Pixels:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"{path}: {width}x{height} is more than {MAX_PIXELS // 10**6} megapixels")
    side = min(width, height) if crop is None else crop
    if side > min(width, height):
        raise ValueError(f"{path}: {width}x{height} is smaller than the crop of {side} pixels: lower crop")
    upright = ImageOps.exif_transpose(picture).convert("RGB")
    left, top = (upright.width - side) / 2, (upright.height - side) / 2
    box = (left, top, left + side, top + side)
    square = upright.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))
