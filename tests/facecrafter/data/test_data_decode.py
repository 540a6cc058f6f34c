"""The decoder: what photographers and their tools write is read as viewers show it, or refused by name."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms, ImageOps

from facecrafter.data import decode as decoding
from facecrafter.data.decode import BACKGROUND, decode
from facecrafter.data.synthetic import render


def save(path: Path, width: int, height: int) -> Path:
    ramp = np.tile(np.linspace(0, 255, width).astype(np.uint8)[None, :, None], (height, 1, 3))
    Image.fromarray(ramp).save(path)
    return path


def test_centre_crop_and_hash(tmp_path: Path) -> None:
    path = save(tmp_path / "ramp.png", 178, 218)
    pixels, digest = decode(path, 64, 128)
    assert pixels.shape == (3, 64, 64)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    # The crop spans columns 25 to 153 of 178: its mean is the ramp's, its ends lie a seventh inside.
    assert pixels.mean() == pytest.approx(127.5, abs=1)
    assert pixels[0, 0, 0] == pytest.approx(25.5 / 177 * 255, abs=2)


def test_largest_square_and_grey_pictures(tmp_path: Path) -> None:
    Image.new("L", (30, 50), 77).save(tmp_path / "grey.png")
    assert (decode(tmp_path / "grey.png", 16, None)[0] == 77).all()


def test_photographs_taken_sideways_are_turned(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 40), (0, 0, 0))
    picture.paste((255, 255, 255), (0, 0, 40, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise: what was on top is on the right
    picture.save(tmp_path / "turned.png", exif=exif)
    pixels = decode(tmp_path / "turned.png", 40, None)[0]
    assert pixels[0, 20, 35] == 255
    assert pixels[0, 20, 5] == 0


def test_truncated_damaged_and_foreign_files_are_named(tmp_path: Path) -> None:
    path = save(tmp_path / "face.jpg", 100, 100)
    path.write_bytes(path.read_bytes()[:-200])
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").touch()
    for name in ("face.jpg", "text.jpg", "empty.jpg"):
        with pytest.raises(ValueError, match=rf"{name}: cannot be read"):
            decode(tmp_path / name, 32, None)


def test_a_crop_larger_than_the_picture_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"small\.png: 20x30 is smaller than the crop of 128"):
        decode(save(tmp_path / "small.png", 20, 30), 64, 128)


def test_huge_pictures_are_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "bomb.png", 100, 100)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 9999)
    with pytest.raises(ValueError, match=r"bomb\.png: 100x100 is more than"):
        decode(path, 32, None)
    monkeypatch.setattr(decoding, "MAX_BYTES", 10)
    with pytest.raises(ValueError, match=r"bomb\.png: larger than"):
        decode(path, 32, None)


def face(person: int = 3, side: int = 64) -> np.ndarray:
    """A painted face, uint8 (side, side, 3)."""
    painted = render(7, torch.tensor([person]), torch.tensor([0]), side)[0]
    return (painted * 255).byte().permute(1, 2, 0).numpy()


def grey(value: np.ndarray) -> np.ndarray:
    """The pixels that a grey picture of 8 bits has, as RGB (3, S, S)."""
    return np.broadcast_to(value, (3, *value.shape))


def as_before(path: Path, size: int, crop: int | None) -> np.ndarray:
    """How ordinary pictures were always read."""
    with Image.open(path) as picture:
        upright = picture.convert("RGB")
    side = min(upright.size) if crop is None else crop
    left, top = (upright.width - side) / 2, (upright.height - side) / 2
    box = (left, top, left + side, top + side)
    return np.asarray(upright.resize((size, size), Image.Resampling.BILINEAR, box=box)).transpose(2, 0, 1)


@pytest.mark.strict
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_ordinary_pictures_are_read_as_always(tmp_path: Path, ending: str) -> None:
    """Otherwise every published figure on photographs was measured on other pixels."""
    for person in range(8):
        path = tmp_path / f"{person}.{ending}"
        Image.fromarray(face(person, 100)).save(path)
        for size, crop in ((32, None), (64, 80)):
            assert (decode(path, size, crop)[0] == as_before(path, size, crop)).all()


@pytest.mark.strict
@pytest.mark.real_data
def test_real_pictures_are_read_as_always() -> None:
    folder = os.environ.get("FACECRAFTER_DATA")
    if not folder:
        pytest.skip("FACECRAFTER_DATA names no folder that holds celeba/ and lfw/")
    photographs = sorted((Path(folder) / "celeba/img_align_celeba").glob("*.jpg"))[:300]
    photographs += sorted((Path(folder) / "lfw/lfw-deepfunneled").glob("A*/*.jpg"))[:300]
    assert len(photographs) == 600
    for path in photographs:
        assert (decode(path, 64, 128)[0] == as_before(path, 64, 128)).all(), path


def save_grey_16(path: Path, values: np.ndarray) -> Path:
    """Values uint16 (H, W), as PNG, TIFF or PGM by the path's ending."""
    if path.suffix == ".pgm":
        header = f"P5\n{values.shape[1]} {values.shape[0]}\n65535\n".encode()
        path.write_bytes(header + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)
    return path


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
@pytest.mark.parametrize("factor", [256, 257])
def test_grey_of_16_bits_is_scaled_not_clipped(tmp_path: Path, ending: str, factor: int) -> None:
    """Pillow's own conversion clips at 255: every pixel of a photograph was white."""
    values = face()[:, :, 1]
    path = save_grey_16(tmp_path / f"face.{ending}", values.astype(np.uint16) * factor)
    assert (decode(path, 64, None)[0] == grey(values)).all()


def test_grey_of_12_bits_is_scaled_by_the_white_that_the_file_names(tmp_path: Path) -> None:
    values = np.array([[0, 4095], [2048, 1024]], ">u2")
    (tmp_path / "face.pgm").write_bytes(b"P5 2 2 4095\n" + values.tobytes())
    assert decode(tmp_path / "face.pgm", 2, None)[0][0].tolist() == [[0, 255], [128, 64]]


def test_tiff_whose_white_is_zero_is_no_negative(tmp_path: Path) -> None:
    values = face()[:, :, 1].astype(np.uint16) * 257
    Image.fromarray(65535 - values).save(tmp_path / "face.tif", tiffinfo={262: 0})
    assert (decode(tmp_path / "face.tif", 64, None)[0] == grey(face()[:, :, 1])).all()


@pytest.mark.parametrize(("mode", "kind"), [("I", "32-bit integers"), ("F", "floating-point numbers")])
def test_pixels_without_a_white_are_refused(tmp_path: Path, mode: str, kind: str) -> None:
    Image.new(mode, (40, 40), 7).save(tmp_path / "depth.tif")
    with pytest.raises(ValueError, match=rf"depth\.tif: its pixels are {kind}.*save it with 8 or 16 bits"):
        decode(tmp_path / "depth.tif", 32, None)


def cut_out(hidden: int) -> Image.Image:
    """A face whose left half is transparent, with some colour left under it."""
    pixels = np.dstack([face(), np.full((64, 64), 255, np.uint8)])
    pixels[:, :32] = (hidden, hidden, hidden, 0)
    return Image.fromarray(pixels)


def palette(picture: Image.Image) -> Image.Image:
    colours = picture.convert("RGB").quantize(255)
    indices = np.asarray(colours).copy()
    indices[np.asarray(picture.getchannel("A")) == 0] = 255
    found = Image.fromarray(indices, "P")
    found.putpalette([*colours.getpalette()[: 255 * 3], 1, 2, 3])
    found.info["transparency"] = 255
    return found


@pytest.mark.parametrize(
    ("ending", "convert"),
    [
        ("png", lambda picture: picture),
        ("webp", lambda picture: picture),
        ("tif", lambda picture: picture),
        ("png", lambda picture: picture.convert("LA")),
        ("png", palette),
        ("gif", palette),
    ],
)
def test_what_lies_under_transparency_is_not_seen(
    tmp_path: Path, ending: str, convert: Callable[[Image.Image], Image.Image]
) -> None:
    """Editors leave any colour there, and networks would train on it."""
    seen = []
    for hidden in (0, 255):
        path = tmp_path / f"{hidden}.{ending}"
        options = {"lossless": True} if ending == "webp" else {}
        picture = convert(cut_out(hidden))
        picture.save(path, **options, **{k: v for k, v in picture.info.items() if k == "transparency"})
        seen.append(decode(path, 64, None)[0])
        assert (seen[-1][:, :, :32] == np.array(BACKGROUND)[:, None, None]).all()
    assert seen[0][:, :, 32:].std() > 20
    if convert is not palette:
        assert (seen[0] == seen[1]).all()


def test_half_transparent_lies_half_on_the_background(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (228, 28, 128, 128)).save(tmp_path / "half.png")
    assert decode(tmp_path / "half.png", 1, None)[0].ravel().tolist() == pytest.approx([178, 78, 128], abs=1)


def test_one_colour_may_be_declared_transparent(tmp_path: Path) -> None:
    for name, mode, colour in (("rgb", "RGB", (9, 8, 7)), ("grey", "L", 9), ("deep", "I;16", 9)):
        picture = Image.new(mode, (8, 8), colour)
        picture.save(tmp_path / f"{name}.png", transparency=colour)
        assert (decode(tmp_path / f"{name}.png", 4, None)[0] == 128).all(), name


@pytest.mark.parametrize(
    "ending", ["gif", "tif", "bmp", "webp", "ppm", "jp2", "qoi", "sgi", "pcx", "tga", "dib", "avif"]
)
def test_formats_are_told_by_content(tmp_path: Path, ending: str) -> None:
    source = Image.fromarray(face())
    try:
        source.save(tmp_path / f"face.{ending}", **({"quality": 100} if ending == "avif" else {}))
    except (KeyError, ValueError, OSError):
        pytest.skip(f"this Pillow does not write {ending}")
    path = tmp_path / (f"face.{ending}" if ending in ("pcx", "tga", "dib") else "face.jpg")
    (tmp_path / f"face.{ending}").rename(path)
    pixels = decode(path, 64, None)[0].astype(int)
    assert np.abs(pixels - face().transpose(2, 0, 1)).mean() < (12 if ending == "gif" else 4)


def test_of_several_frames_the_first_is_read(tmp_path: Path) -> None:
    frames = [Image.fromarray(face(person)) for person in (3, 4)]
    for name in ("two.tif", "two.png", "two.gif", "two.mpo"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        pixels = decode(tmp_path / name, 64, None)[0].transpose(1, 2, 0).astype(int)
        one, other = (np.abs(pixels - face(person)).mean() for person in (3, 4))
        assert one < other / 2, name


def test_colour_spaces_of_printers_are_converted(tmp_path: Path) -> None:
    source = Image.fromarray(face())
    lab = ImageCms.profileToProfile(
        source, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    for name, picture in (
        ("cmyk.jpg", source.convert("CMYK")), ("cmyk.tif", source.convert("CMYK")),
        ("ycbcr.tif", source.convert("YCbCr")), ("lab.tif", lab),
        ("one.png", source.convert("1").convert("L")),
    ):  # fmt: skip
        picture.save(tmp_path / name)
        wanted = source if name != "one.png" else picture.convert("RGB")
        pixels = decode(tmp_path / name, 64, None)[0].transpose(1, 2, 0)
        assert np.abs(pixels - np.asarray(wanted).astype(int)).mean() < 6, name


def exif(orientation: int, resolution: bytes = struct.pack(">II", 72, 1), kind: int = 5) -> bytes:
    """Orientation and a resolution, whose eight bytes may be no fraction; kind 10 is one with a sign."""
    entries = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0) + struct.pack(">HHII", 0x011A, kind, 1, 38)
    return b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 2) + entries + struct.pack(">I", 0) + resolution


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "resolution"), [(5, (72, 1)), (5, (-1, 0)), (10, (-1, 0)), (2, (-1, 0))])
def test_only_the_orientation_of_the_metadata_matters(
    tmp_path: Path, orientation: int, kind: int, resolution: tuple[int, int]
) -> None:
    """Against Pillow's own turning, where the metadata are sound."""
    one, other = tmp_path / "broken.jpg", tmp_path / "sound.jpg"
    Image.fromarray(face()).save(one, exif=exif(orientation, struct.pack(">ii", *resolution), kind))
    Image.fromarray(face()).save(other, exif=exif(orientation))
    with Image.open(other) as picture:
        turned = np.asarray(ImageOps.exif_transpose(picture))
    assert (decode(one, 64, None)[0] == turned.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("junk", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0" + b"\xff" * 200])
def test_metadata_beyond_reading_are_as_none(tmp_path: Path, junk: bytes) -> None:
    Image.fromarray(face()).save(tmp_path / "face.jpg", exif=junk)
    Image.fromarray(face()).save(tmp_path / "plain.jpg")
    assert (decode(tmp_path / "face.jpg", 64, None)[0] == decode(tmp_path / "plain.jpg", 64, None)[0]).all()


def test_a_small_file_that_unpacks_to_gigabytes_is_refused_by_its_header(tmp_path: Path) -> None:
    """Its pixels are never unpacked: neither time nor memory grow with what the header claims."""
    for width, height in ((60_000, 60_000), (9_000, 9_000), (2**31 - 1, 1)):
        file = io.BytesIO()
        Image.new("1", (8, 8)).save(file, "PNG")
        content = bytearray(file.getvalue())
        content[16:24] = struct.pack(">II", width, height)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        (tmp_path / "bomb.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"bomb\.png: .*megapixels"):
            decode(tmp_path / "bomb.png", 32, None)


def test_what_is_no_file_is_named_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")  # reading it would never end
    (tmp_path / "folder.jpg").mkdir()
    for name in ("pipe.jpg", "folder.jpg"):
        with pytest.raises(ValueError, match=rf"{name}: no ordinary file"):
            decode(tmp_path / name, 32, None)
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg: no such file"):
        decode(tmp_path / "gone.jpg", 32, None)


def test_programs_of_printers_are_not_run(tmp_path: Path) -> None:
    (tmp_path / "face.eps").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\n")
    with pytest.raises(ValueError, match=r"none of the formats AVIF, .*JPEG"):
        decode(tmp_path / "face.eps", 32, None)
