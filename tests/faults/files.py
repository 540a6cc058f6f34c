"""Label files and pictures with accidents: each is read, or refused by a sentence that names it."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from fake_faces import fake_celeba, fake_folder, fake_lfw, fake_vggface2
from PIL import Image

from facecrafter.data.checks import read_splits
from facecrafter.data.decode import decode
from facecrafter.data.readers import read_celeba, read_folder, read_lfw, read_vggface2
from facecrafter.data.splits import SplitRule, split

Read = Callable[[], object]

SPLICES = (
    b"", b"\0", b"\n", b"\r", b"\t", b",", b";", b'"', b'""', b"\\", b"/", b"..", b"../../x", b"-1", b"nan",
    b"1e999", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"#", b"\xe2\x80\x8b", "é".encode(), "e\u0301".encode(),
    b" " * 9, b"9" * 5000, b"\x00\x00\x00\x01", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff",
)  # fmt: skip


def mutated(content: bytes, rng: random.Random) -> bytes:
    """The content with one to four accidents."""
    for _ in range(rng.randint(1, 4)):
        i, j = sorted(rng.randrange(len(content) + 1) for _ in range(2))
        j = min(j, i + rng.choice((1, 4, 40, len(content))))
        splice = rng.choice(SPLICES)
        content = rng.choice(
            (
                content[:i] + bytes([rng.randrange(256)]) + content[i + 1 :],
                content[:i] + splice + content[i:],
                content[:i] + splice + content[j:],
                content[:i] + content[i:j] * 2 + content[j:],
                content[:i] + content[j:],
                content[:i],
            )
        )
    return content


def label_files(root: Path) -> list[tuple[Path, Read]]:
    """Every label file of the four layouts and a splits file, written below `root`, each with its reader."""
    folder, celeba = fake_folder(root / "folder", 4, 2), fake_celeba(root / "celeba", 2, 2)
    lfw, vgg = fake_lfw(root / "lfw", 2, 2), fake_vggface2(root / "vgg", 4, 2)

    def read_folder_set() -> object:
        return read_folder(folder, folder / "labels.csv", "path", "identity", None)

    table = read_folder_set()
    split(table, SplitRule(1, 2, 1.0, 0.5, None, 0)).write(root / "splits.csv")
    readers: dict[Path, Read] = {
        folder / "labels.csv": read_folder_set,
        celeba / "list_attr_celeba.txt": lambda: read_celeba(celeba, None),
        celeba / "identity_CelebA.txt": lambda: read_celeba(celeba, None),
        lfw / "lfw_attributes.txt": lambda: read_lfw(lfw, ["Male"]),
        vgg / "identity_meta.csv": lambda: read_vggface2(vgg, vgg / "MAAD_Face.csv", ["Bald"]),
        vgg / "MAAD_Face.csv": lambda: read_vggface2(vgg, vgg / "MAAD_Face.csv", ["Bald"]),
        root / "splits.csv": lambda: read_splits(root / "splits.csv", table),
    }
    return list(readers.items())


def outcome(read: Read, file: Path) -> str:
    """'read' or 'refused'; any other error, and a refusal that does not say of what, fails the test."""
    try:
        read()
    except (ValueError, FileNotFoundError) as error:
        refusal = error
    else:
        return "read"
    assert not isinstance(refusal, UnicodeError), repr(refusal)
    assert str(file) in str(refusal), f"does not name {file}: {refusal}"
    assert len(str(refusal)) < 20_000, f"no sentence but {len(str(refusal))} characters: {refusal!s:.300}"
    return "refused"


def try_labels(files: list[tuple[Path, Read]], times: int, seed: int) -> dict[str, int]:
    rng, count = random.Random(seed), {"read": 0, "refused": 0}
    for turn in range(times):
        path, read = files[turn % len(files)]
        content = path.read_bytes()
        path.write_bytes(mutated(content, rng))
        try:
            count[outcome(read, path.parent)] += 1
        finally:
            path.write_bytes(content)
    return count


def pictures() -> Iterator[tuple[str, bytes]]:
    """A face-sized picture in every format and mode that is written."""
    source = Image.radial_gradient("L").resize((24, 20))
    for name, mode in (
        ("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGBA"), ("PNG", "I;16"), ("PNG", "P"), ("GIF", "P"),
        ("TIFF", "RGB"), ("TIFF", "I;16"), ("BMP", "RGB"), ("WEBP", "RGB"), ("PPM", "RGB"), ("PPM", "I"),
        ("AVIF", "RGB"), ("JPEG2000", "RGB"), ("SGI", "RGB"),
        ("QOI", "RGB"), ("PCX", "RGB"), ("TGA", "RGB"), ("MPO", "RGB"),
    ):  # fmt: skip
        file = io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 6
        try:
            source.convert(mode).save(
                file, name, **({"exif": exif} if name in ("JPEG", "PNG", "TIFF") else {})
            )
        except (KeyError, OSError):  # a Pillow that does not write it
            continue
        yield {"PCX": "pcx", "TGA": "tga"}.get(name, "jpg"), file.getvalue()


def try_pictures(folder: Path, times: int, seed: int) -> dict[str, int]:
    rng, count, known = random.Random(seed), {"read": 0, "refused": 0}, list(pictures())
    for turn in range(times):
        ending, content = known[turn % len(known)]
        path = folder / f"face.{ending}"
        path.write_bytes(mutated(content, rng))
        count[outcome(partial(decode, path, 8, None), path)] += 1
    return count
