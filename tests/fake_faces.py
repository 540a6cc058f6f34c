"""Tiny data sets in the layouts of the real ones, with painted pictures."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from facecrafter.data.synthetic import render

CELEBA_ATTRIBUTES = [
    "5_o_Clock_Shadow",
    "Arched_Eyebrows",
    "Attractive",
    "Bags_Under_Eyes",
    "Bald",
    "Bangs",
    "Big_Lips",
    "Big_Nose",
    "Black_Hair",
    "Blond_Hair",
    "Blurry",
    "Brown_Hair",
    "Bushy_Eyebrows",
    "Chubby",
    "Double_Chin",
    "Eyeglasses",
    "Goatee",
    "Gray_Hair",
    "Heavy_Makeup",
    "High_Cheekbones",
    "Male",
    "Mouth_Slightly_Open",
    "Mustache",
    "Narrow_Eyes",
    "No_Beard",
    "Oval_Face",
    "Pale_Skin",
    "Pointy_Nose",
    "Receding_Hairline",
    "Rosy_Cheeks",
    "Sideburns",
    "Smiling",
    "Straight_Hair",
    "Wavy_Hair",
    "Wearing_Earrings",
    "Wearing_Hat",
    "Wearing_Lipstick",
    "Wearing_Necklace",
    "Wearing_Necktie",
    "Young",
]
LFW_ATTRIBUTES = (
    "Male", "Asian", "White", "Black", "Middle Aged", "Black Hair", "Eyeglasses", "Mustache", "Smiling",
    "Chubby", "Curly Hair",
)  # fmt: skip
MAAD_ATTRIBUTES = ("Male", "Young", "Bald", "Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Smiling")


def save_face(path: Path, person: int, number: int, width: int, height: int) -> None:
    """A painted face in the middle of a grey picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    side = min(width, height, 64)
    pixels = (
        (render(7, torch.tensor([person]), torch.tensor([number]), side)[0] * 255)
        .byte()
        .permute(1, 2, 0)
        .numpy()
    )
    picture = Image.new("RGB", (width, height), (128, 128, 128))
    picture.paste(Image.fromarray(pixels), ((width - side) // 2, (height - side) // 2))
    picture.save(path)


def fake_labels(pictures: int, attributes: int) -> np.ndarray:
    """Seeded -1 and 1, (pictures, attributes)."""
    return np.random.default_rng(0).integers(0, 2, (pictures, attributes)) * 2 - 1


def write_csv(path: Path, header: Sequence[object], rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def fake_celeba(root: Path, identities: int = 8, images: int = 5) -> Path:
    """img_align_celeba/, identity_CelebA.txt and list_attr_celeba.txt, 178x218 pixels."""
    people = [person for person in range(identities) for _ in range(images)]
    names = [f"{position + 1:06d}.jpg" for position in range(len(people))]
    for position, (name, person) in enumerate(zip(names, people, strict=True)):
        save_face(root / "img_align_celeba" / name, person, position, 178, 218)
    labels = fake_labels(len(names), len(CELEBA_ATTRIBUTES))
    rows = [
        f"{name} " + " ".join(f"{value:2d}" for value in row) for name, row in zip(names, labels, strict=True)
    ]
    (root / "list_attr_celeba.txt").write_text(
        "\n".join([str(len(names)), " ".join(CELEBA_ATTRIBUTES) + " ", *rows]) + "\n"
    )
    pairs = [f"{name} {person + 1}" for name, person in zip(names, people, strict=True)]
    (root / "identity_CelebA.txt").write_text("\n".join(pairs) + "\n")
    return root


def fake_lfw(root: Path, identities: int = 8, images: int = 4) -> Path:
    """lfw-deepfunneled/NAME/NAME_0001.jpg and lfw_attributes.txt, 250x250 pixels."""
    people = [f"Ada {chr(65 + person)}. Byron" for person in range(identities)]
    keys = [(person, number) for person in people for number in range(1, images + 1)]
    for person, number in keys:
        folder = person.replace(" ", "_")
        path = root / "lfw-deepfunneled" / folder / f"{folder}_{number:04d}.jpg"
        save_face(path, people.index(person), number, 250, 250)
    labels = fake_labels(len(keys), len(LFW_ATTRIBUTES))
    rows = ["\t".join(map(str, (*key, *row))) for key, row in zip(keys, labels, strict=True)]
    header = "\t".join(("#", "person", "imagenum", *LFW_ATTRIBUTES))
    (root / "lfw_attributes.txt").write_text("\n".join(["# LFW attribute labels", header, *rows]) + "\n")
    return root


def fake_vggface2(root: Path, identities: int = 8, images: int = 4) -> Path:
    """train/ and test/ (its last two people), identity_meta.csv, and MAAD_Face.csv with values -1, 0 and
    1."""
    meta, rows = [], []
    for person in range(identities):
        name, part = f"n{person + 2:06d}", "test" if person >= identities - 2 else "train"
        meta.append([name, f' "Person_{person}"', f" {images}", f" {int(part == 'train')}", " f"])
        for number in range(images):
            file = f"{number + 1:04d}_01.jpg"
            save_face(root / part / name / file, person, number, 120 + number, 140)
            rows.append([f"{name}/{file}", person + 2, *_one_hair_colour(person, number)])
    write_csv(root / "identity_meta.csv", ["Class_ID", " Name", " Sample_Num", " Flag", " Gender"], meta)
    write_csv(root / "MAAD_Face.csv", ["Filename", "Identity", *MAAD_ATTRIBUTES], rows)
    return root


def _one_hair_colour(person: int, number: int) -> list[int]:
    hair = [1 if position == (person + number) % 5 else 0 for position in range(5)]
    return [1, 0, *hair, -1]


def fake_folder(root: Path, identities: int = 8, images: int = 5) -> Path:
    """person/picture.png and labels.csv with path, identity and two attributes."""
    rows = []
    for person in range(identities):
        for number in range(images):
            name = f"person {person}/{number}.png"
            save_face(root / name, person, number, 48, 40)
            rows.append([name, f"person {person}", person % 2, "true" if number % 2 else "false"])
    write_csv(root / "labels.csv", ["path", "identity", "tall", "awake"], rows)
    return root
