"""Files to pixels: bounded, square, hashed; every failure names the file."""

from __future__ import annotations

import hashlib
import io
import stat
import warnings
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, UnidentifiedImageError

VERSION = 2
"""Raised whenever some picture's pixels change: cached pictures and results hang on it."""

MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64 * 10**6
"""A picture beyond these bounds is refused before it is decoded: a small file can unpack to gigabytes."""

BACKGROUND = (128, 128, 128)
"""What shows through where a picture is transparent: mid-grey, which neither outlines a dark head nor a light
one, and lies in the middle of what networks see. The colours that a cut-out hides under alpha 0 are whatever
its editor left there."""

_FORMATS = (
    "JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF", "MPO", "JPEG2000", "PSD", "QOI", "SGI", "SUN",
)  # fmt: skip
"""Formats that say at their beginning what they are. Pillow reads more; but EPS runs another program, and
FITS unpacks without a bound."""

_BY_NAME = {".tga": "TGA", ".pcx": "PCX", ".dib": "DIB"}
"""Formats that almost any bytes could be: read where the file's name says so."""

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0

Pixels = NDArray[np.uint8]


def decode(path: Path, size: int, crop: int | None) -> tuple[Pixels, str]:
    """Pixels (3, size, size) of the picture's centre, and the sha256 of the file, which is read once.

    The centred square of ``crop`` pixels (None: the largest) is resized with an antialiasing filter. The
    format follows from the content, not from the name. Of several frames the first is read, of the metadata
    the orientation alone. Grey of 16 bits keeps its upper 8, transparent pictures lie on BACKGROUND.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no picture, is cut short, is too large, has pixels without a defined range, or
            is smaller than the crop.
    """
    content = bounded(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of metadata that nothing here reads
            with Image.open(io.BytesIO(content), formats=_formats(path)) as picture:
                _refuse_size(picture.size, path, crop)
                picture.load()
                upright = _upright(picture, _rgb(picture, path))
    except _RefusedError:
        raise
    except UnidentifiedImageError as error:
        known = ", ".join(sorted(_formats(path)))
        raise ValueError(
            f"{path}: cannot be read as a picture: damaged, or none of the formats {known}"
        ) from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path}: more than {MAX_PIXELS // 10**6} megapixels") from error
    except Exception as error:  # whatever a decoder trips over: its kinds of errors are not documented
        raise ValueError(
            f"{path}: cannot be read as a picture: truncated or damaged ({error or type(error).__name__})"
        ) from error
    return _centre(upright, size, crop), hashlib.sha256(content).hexdigest()


class _RefusedError(ValueError):
    """The picture is whole, but not for us."""


def bounded(path: Path) -> bytes:
    """The content of a picture's file, which may be a stranger's.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no ordinary file, too large, empty or may not be read.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe would never end
            raise ValueError(f"{path}: no ordinary file")
        if status.st_size > MAX_BYTES:
            raise ValueError(f"{path}: larger than {MAX_BYTES // 2**20} MiB")
        if status.st_size == 0:
            raise ValueError(f"{path}: cannot be read as a picture: empty")
        return path.read_bytes()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error


def _formats(path: Path) -> tuple[str, ...]:
    extra = _BY_NAME.get(path.suffix.lower())
    return (*_available(), extra) if extra else _available()


@cache
def _available() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)  # not every Pillow has all of them


def _refuse_size(measures: tuple[int, int], path: Path, crop: int | None) -> None:
    width, height = measures
    if width * height > MAX_PIXELS:
        raise _RefusedError(f"{path}: {width}x{height} is more than {MAX_PIXELS // 10**6} megapixels")
    if crop is not None and crop > min(width, height):
        raise _RefusedError(f"{path}: {width}x{height} is smaller than the crop of {crop} pixels: lower crop")


def _rgb(picture: Image.Image, path: Path) -> Image.Image:
    """The picture as RGB of 8 bits, whatever its mode."""
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _grey(picture, path)
    if picture.mode in ("La", "RGBa"):  # colours multiplied by alpha already
        picture = picture.convert("LA" if picture.mode == "La" else "RGBA")
    if picture.has_transparency_data:
        cut_out = picture.convert("RGBA")
        flat = Image.new("RGB", cut_out.size, BACKGROUND)
        flat.paste(cut_out, mask=cut_out.getchannel("A"))
        return flat
    if picture.mode == "LAB":
        return _from_lab(picture)
    return picture.convert("RGB")


def _grey(picture: Image.Image, path: Path) -> Image.Image:
    """Grey of 16 bits as grey of 8.

    Of each value the upper byte counts, as in Pillow's reading of 16-bit colour.
    """
    # PNG and PGM store at most 16 bits, which Pillow may hold as 32.
    if not (picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM"))):
        kind = "floating-point numbers" if picture.mode == "F" else "32-bit integers"
        raise _RefusedError(
            f"{path}: its pixels are {kind} ({picture.format}, mode {picture.mode}), for which no black and "
            "white are defined: save it with 8 or 16 bits"
        )
    values = np.asarray(picture).astype(np.int64)
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    if picture.format == "TIFF" and picture.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:  # type: ignore[attr-defined]
        grey = Image.fromarray(255 - np.asarray(grey))
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        grey.putalpha(Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8)))
    return grey


def _from_lab(picture: Image.Image) -> Image.Image:
    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(picture, lab, rgb, outputMode="RGB") or picture


def _upright(picture: Image.Image, pixels: Image.Image) -> Image.Image:
    """The pixels turned as the picture's metadata say.

    Pillow's own ``exif_transpose`` writes all metadata anew, and fails at tags that nobody needs here.
    """
    try:
        turn = _UPRIGHT.get(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # metadata beyond repair say nothing
        return pixels
    return pixels if turn is None else pixels.transpose(turn)


def _centre(upright: Image.Image, size: int, crop: int | None) -> Pixels:
    side = min(upright.size) if crop is None else crop
    left, top = (upright.width - side) / 2, (upright.height - side) / 2
    box = (left, top, left + side, top + side)
    square = upright.resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))
