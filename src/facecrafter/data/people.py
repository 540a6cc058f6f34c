"""Who a synthetic face belongs to, and the moment it was taken in."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from .draws import Draws

ATTRIBUTES = (
    "Bald", "Bangs", "Beard", "Big_Nose", "Blond_Hair", "Bushy_Eyebrows", "Dark_Hair", "Dark_Skin",
    "Earrings", "Eyeglasses",
    "Light_Eyes", "Long_Hair", "Mustache", "Wide_Face", "Mouth_Open", "Raised_Eyebrows", "Smiling",
)  # fmt: skip

_SKIN = ((0.99, 0.86, 0.77), (0.93, 0.73, 0.60), (0.76, 0.55, 0.41), (0.50, 0.33, 0.24), (0.31, 0.20, 0.15))
_HAIR = ((0.06, 0.05, 0.06), (0.16, 0.10, 0.08), (0.42, 0.22, 0.12), (0.58, 0.28, 0.13), (0.80, 0.62, 0.34),
         (0.93, 0.82, 0.56), (0.62, 0.62, 0.64), (0.86, 0.86, 0.87))  # fmt: skip
_IRIS = ((0.16, 0.09, 0.05), (0.32, 0.19, 0.09), (0.30, 0.48, 0.28), (0.33, 0.55, 0.78), (0.52, 0.62, 0.70))
_DARK_TO_LIGHT_EYES = 0.4
_HAIR_KINDS = (0.40, 0.54, 0.86)
"""Cumulative share of dark, brown to red, blond, and (the rest) grey hair."""


def _between(palette: tuple[tuple[float, ...], ...], position: Tensor) -> Tensor:
    """Colours (N, 3) at ``position`` (N,) in [0, 1] along a palette."""
    stops = torch.tensor(palette)
    place = position.clamp(0, 1) * (len(palette) - 1)
    lower = place.floor().long().clamp_max(len(palette) - 2)
    return torch.lerp(stops[lower], stops[lower + 1], (place - lower).unsqueeze(1))


@dataclass(frozen=True)
class _Shaped:
    """Scalars (N,) that broadcast over pixels as (N, 1, 1), and colours (N, 3) as (N, 3, 1, 1)."""

    def over_pixels(self) -> None:
        for field in fields(self):
            value: Tensor = getattr(self, field.name)
            object.__setattr__(self, field.name, value[..., None, None])


@dataclass(frozen=True)
class Person(_Shaped):
    """What an identity fixes. Lengths in half image sides; positions down from the middle of the face."""

    tone: Tensor
    skin: Tensor
    lips: Tensor
    hair_kind: Tensor
    hair: Tensor
    iris_kind: Tensor
    iris: Tensor
    frame: Tensor
    face_width: Tensor
    jaw_width: Tensor
    jaw_length: Tensor
    chin: Tensor
    eye_gap: Tensor
    eye_width: Tensor
    eye_height: Tensor
    eye_level: Tensor
    eye_tilt: Tensor
    brow_height: Tensor
    brow_thickness: Tensor
    brow_slope: Tensor
    brow_arch: Tensor
    nose_width: Tensor
    nose_length: Tensor
    mouth_width: Tensor
    mouth_level: Tensor
    lip_height: Tensor
    ear_size: Tensor
    hairline: Tensor
    parting: Tensor
    volume: Tensor
    curl: Tensor
    curls: Tensor
    lens_width: Tensor
    lens_corner: Tensor
    bald: Tensor
    long_hair: Tensor
    bangs: Tensor
    beard: Tensor
    mustache: Tensor
    glasses: Tensor
    earrings: Tensor


@dataclass(frozen=True)
class Moment(_Shaped):
    """What every picture draws anew: pose, expression, light and background."""

    right: Tensor
    down: Tensor
    roll: Tensor
    size: Tensor
    yaw: Tensor
    pitch: Tensor
    smile: Tensor
    open_mouth: Tensor
    raised_brows: Tensor
    gaze: Tensor
    light_x: Tensor
    light_y: Tensor
    light_strength: Tensor
    exposure: Tensor
    tint: Tensor
    clothes: Tensor
    wall: Tensor
    wall_far: Tensor
    wall_angle: Tensor
    blob_x: Tensor
    blob_y: Tensor


def draw_people(seed: int, identity: Tensor) -> Person:
    """The people with these numbers, int64 (N,)."""
    d = Draws(torch.full_like(identity, seed), torch.zeros_like(identity), identity)
    tone, hair_kind, iris_kind = d.uniform(), d.uniform(), d.uniform()
    skin = _between(_SKIN, tone) + d.colour(0.03)
    not_bald = 1 - (bald := d.chance(0.2))
    beard = d.chance(0.3)
    return Person(
        tone=tone, skin=skin, hair_kind=hair_kind, iris_kind=iris_kind, bald=bald, beard=beard,
        lips=(skin * torch.tensor([0.86, 0.58, 0.58]) + torch.tensor([0.06, 0.0, 0.02])) + d.colour(0.05),
        hair=_hair_colour(hair_kind, d.uniform()) + d.colour(0.03),
        iris=_iris_colour(iris_kind) + d.colour(0.04),
        frame=d.uniform(0.05, 0.5).unsqueeze(1) + d.colour(0.12).abs(),
        face_width=d.uniform(0.43, 0.59), jaw_width=d.uniform(0.62, 0.90), jaw_length=d.uniform(0.40, 0.54),
        chin=d.uniform(0.06, 0.22), eye_gap=d.uniform(0.37, 0.46), eye_width=d.uniform(0.085, 0.125),
        eye_height=d.uniform(0.042, 0.074), eye_level=d.uniform(-0.07, 0.02), eye_tilt=d.uniform(-0.22, 0.22),
        brow_height=d.uniform(0.12, 0.17), brow_thickness=d.uniform(0.014, 0.046),
        brow_slope=d.uniform(-0.25, 0.25),
        brow_arch=d.uniform(0.5, 3.0), nose_width=d.uniform(0.06, 0.15), nose_length=d.uniform(0.21, 0.31),
        mouth_width=d.uniform(0.14, 0.24), mouth_level=d.uniform(0.14, 0.20),
        lip_height=d.uniform(0.018, 0.055),
        ear_size=d.uniform(0.07, 0.12), hairline=d.uniform(-0.46, -0.30), parting=d.uniform(-0.30, 0.30),
        volume=d.uniform(0.02, 0.16), curl=d.uniform(0, 1) ** 2 * 0.035, curls=d.uniform(9, 17).round(),
        lens_width=d.uniform(1.45, 1.8), lens_corner=d.uniform(0.3, 0.98),
        long_hair=d.chance(0.5) * not_bald, bangs=d.chance(0.42) * not_bald,
        mustache=torch.maximum(d.chance(0.18), beard * d.chance(0.6)), glasses=d.chance(0.38),
        earrings=d.chance(0.35),
    )  # fmt: skip


def _hair_colour(kind: Tensor, shade: Tensor) -> Tensor:
    family = torch.bucketize(kind, torch.tensor(_HAIR_KINDS))
    ends = torch.tensor(_HAIR).view(4, 2, 3)[family]
    return torch.lerp(ends[:, 0], ends[:, 1], shade.unsqueeze(1))


def _iris_colour(kind: Tensor) -> Tensor:
    dark = _between(_IRIS[:2], kind / (1 - _DARK_TO_LIGHT_EYES))
    light = _between(_IRIS[2:], (kind - 1 + _DARK_TO_LIGHT_EYES) / _DARK_TO_LIGHT_EYES)
    return torch.where(_light_eyes(kind).unsqueeze(1), light, dark)


def _light_eyes(kind: Tensor) -> Tensor:
    return kind >= 1 - _DARK_TO_LIGHT_EYES


def draw_moments(seed: int, identity: Tensor, number: Tensor) -> Moment:
    """The moments of the pictures ``number`` int64 (N,) of the people ``identity`` int64 (N,)."""
    d = Draws(torch.full_like(identity, seed), torch.ones_like(identity), identity, number)
    smiling, opened, raised = d.chance(0.5), d.chance(0.4), d.chance(0.3)
    wall = d.uniform(0.25, 0.8).unsqueeze(1) + d.colour(0.2)
    return Moment(
        right=d.uniform(-0.07, 0.07), down=d.uniform(-0.05, 0.05), roll=d.uniform(-0.14, 0.14),
        size=d.uniform(1.0, 1.16),
        yaw=d.uniform(-1, 1), pitch=d.uniform(-0.5, 0.5),
        smile=torch.where(smiling > 0, d.uniform(0.55, 1.0), d.uniform(-0.35, 0.1)),
        open_mouth=opened * d.uniform(0.45, 1.0), raised_brows=raised * d.uniform(0.6, 1.0),
        gaze=d.uniform(-1, 1),
        light_x=d.uniform(-1, 1), light_y=d.uniform(-0.9, 0.1), light_strength=d.uniform(0.1, 0.42),
        exposure=d.uniform(0.82, 1.08), tint=d.colour(0.05), wall=wall,
        clothes=d.uniform(0.2, 0.75).unsqueeze(1) + d.colour(0.22),
        wall_far=wall + d.uniform(-0.2, 0.2).unsqueeze(1) + d.colour(0.08), wall_angle=d.uniform(0, 6.2832),
        blob_x=d.uniform(-1, 1), blob_y=d.uniform(-1, 0.4),
    )  # fmt: skip


def label(person: Person, moment: Moment) -> Tensor:
    """The binary ATTRIBUTES, uint8 (N, A), of people and moments as drawn."""
    kind, haired = person.hair_kind, person.bald == 0
    traits = {
        "Bald": ~haired,
        "Bangs": person.bangs > 0,
        "Beard": person.beard > 0,
        "Big_Nose": person.nose_width > 0.115,
        "Blond_Hair": (kind > _HAIR_KINDS[1]) & (kind <= _HAIR_KINDS[2]) & haired,
        "Bushy_Eyebrows": person.brow_thickness > 0.034,
        "Dark_Hair": (kind <= _HAIR_KINDS[0]) & haired,
        "Dark_Skin": person.tone > 0.6,
        "Earrings": person.earrings > 0,
        "Eyeglasses": person.glasses > 0,
        "Light_Eyes": _light_eyes(person.iris_kind),
        "Long_Hair": person.long_hair > 0,
        "Mustache": person.mustache > 0,
        "Wide_Face": person.face_width > 0.525,
        "Mouth_Open": moment.open_mouth > 0,
        "Raised_Eyebrows": moment.raised_brows > 0,
        "Smiling": moment.smile > 0.2,
    }
    return torch.stack([traits[name] for name in ATTRIBUTES], dim=1).to(torch.uint8)
