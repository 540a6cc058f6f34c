"""Paints synthetic faces, layer by layer from the wall to the glasses."""

from __future__ import annotations

import torch
from torch import Tensor

from .people import Moment, Person
from .shapes import Canvas, band, box, circle, ellipse, merge

VERSION = 2
"""Raised whenever a painted pixel changes: cached pictures and results hang on it."""

_INK = 0.08
_DEPTH = {"eyes": 0.055, "nose": 0.11, "mouth": 0.08, "hair": -0.03}
"""How far a feature moves when the head turns fully, in half image sides: what is nearer moves more."""


class Portrait:
    """N pictures in the making: the head's frame (grids x, y), its light, and the canvas."""

    def __init__(self, person: Person, moment: Moment, size: int) -> None:
        person.over_pixels()
        moment.over_pixels()
        self.person, self.moment = person, moment
        grid = (torch.arange(size) + 0.5) * (2 / size) - 1
        self.wall_y, self.wall_x = torch.meshgrid(grid, grid, indexing="ij")
        x, y = self.wall_x - moment.right, self.wall_y - moment.down
        cos, sin = torch.cos(moment.roll) / moment.size, torch.sin(moment.roll) / moment.size
        self.x, self.y = cos * x + sin * y, cos * y - sin * x
        self.canvas = Canvas(self._wall(), 2 / size / moment.size)
        self.face = self._face_outline()
        self.shade = self._shade()
        self.skin = person.skin * self.shade

    def paint(self) -> Tensor:
        """The finished pictures, float32 (N, 3, S, S) in [0, 1]."""
        for layer in (self._back_hair, self._neck, self._clothes, self._ears, self._head, self._eyes,
        self._brows, self._nose,
                      self._beard, self._mouth, self._hair, self._glasses):  # fmt: skip
            layer()
        light = self.moment.exposure[:, None] * (1 + self.moment.tint)
        return (self.canvas.picture * light).clamp(0, 1)

    def _at(self, feature: str) -> tuple[Tensor, Tensor]:
        """The head's frame as seen on a feature's depth: moved and foreshortened by yaw and pitch."""
        m, depth = self.moment, _DEPTH[feature]
        return (self.x - depth * m.yaw) / (1 - 0.08 * m.yaw.abs()), self.y - 0.5 * depth * m.pitch

    def _wall(self) -> Tensor:
        m = self.moment
        along = torch.cos(m.wall_angle) * self.wall_x + torch.sin(m.wall_angle) * self.wall_y
        blob = (1 - torch.sqrt((self.wall_x - m.blob_x) ** 2 + (self.wall_y - m.blob_y) ** 2)).clamp_min(0)
        return torch.lerp(m.wall, m.wall_far, (0.5 + 0.4 * along + 0.5 * blob).unsqueeze(1)).clamp(0, 1)

    def _face_outline(self) -> Tensor:
        p = self.person
        skull = ellipse(self.x, self.y + 0.10, p.face_width, 0.54)
        jaw = ellipse(self.x, self.y - 0.20, p.face_width * p.jaw_width, p.jaw_length)
        chin = ellipse(self.x, self.y - 0.12 - p.jaw_length, p.chin + 0.05, 0.09)
        return merge(merge(skull, jaw, 0.2), chin, 0.1)

    def _shade(self) -> Tensor:
        """Lambert's law on an egg: brightness (N, 1, S, S) about 1."""
        m = self.moment
        nx, ny = self.x / (self.person.face_width + 0.08), (self.y - 0.05) / 0.75
        nz = torch.sqrt((1 - nx * nx - ny * ny).clamp_min(0.05))
        lit = nx * m.light_x + ny * m.light_y + 0.8 * nz - 0.55
        return (0.97 + m.light_strength * lit).unsqueeze(1)

    def _back_hair(self) -> None:
        p = self.person
        x, y = self._at("hair")
        curtain = box(x, y - 0.28, p.face_width + 0.10 + 0.6 * p.volume, 0.72, 0.3)
        self.canvas.paint(curtain - self._lobes(), p.hair * 0.72 * self._strands(), p.long_hair)

    def _neck(self) -> None:
        p = self.person
        neck = box(self.x, self.y - 0.75, 0.62 * p.face_width * p.jaw_width, 0.5, 0.1)
        self.canvas.paint(neck, p.skin * 0.80 * self.shade)
        shadow = self.face - 0.09
        self.canvas.paint(torch.maximum(shadow, neck), p.skin * 0.58, 0.6, blur=0.08)

    def _clothes(self) -> None:
        clothes = ellipse(self.x, self.y - 1.40, 1.15, 0.58)
        collar = ellipse(self.x, self.y - 0.76, 0.62 * self.person.face_width, 0.20)
        self.canvas.paint(torch.maximum(clothes, -collar), self.moment.clothes.clamp(0.03, 0.97) * self.shade)

    def _ears(self) -> None:
        p = self.person
        away, y = self.x.abs() - p.face_width - 0.01, self.y - 0.04 - p.eye_level
        self.canvas.paint(ellipse(away, y, 0.065, p.ear_size + 0.03), 0.90 * self.skin)
        self.canvas.paint(ellipse(away, y, 0.03, p.ear_size), 0.70 * self.skin, 0.6, blur=0.02)
        ring = circle(away - 0.015, y - p.ear_size - 0.065, 0.042)
        self.canvas.paint(ring, _colour(0.98, 0.80, 0.25), p.earrings)

    def _head(self) -> None:
        p, m = self.person, self.moment
        self.canvas.paint(self.face, self.skin)
        self.canvas.paint(self.face.abs() - 0.012, 0.62 * self.skin, 0.55, blur=0.02)
        x, y = self._at("mouth")
        cheek = circle(x.abs() - 0.55 * p.face_width, y - 0.19 + 0.04 * m.smile, 0.10)
        blush = self.skin * _colour(1.04, 0.80, 0.80)
        self.canvas.paint(
            torch.maximum(cheek, self.face), blush, 0.20 + 0.25 * m.smile.clamp_min(0), blur=0.16
        )

    def _eye_frame(self) -> tuple[Tensor, Tensor, Tensor]:
        """Coordinates within either eye, x away from the nose, and which eye (±1)."""
        p = self.person
        x, y = self._at("eyes")
        away, down = x.abs() - p.eye_gap * p.face_width - 0.01, y - p.eye_level
        return away, down + p.eye_tilt * away, torch.sign(x)

    def _eyes(self) -> None:
        p, m = self.person, self.moment
        x, y, side = self._eye_frame()
        height = p.eye_height * (1 - 0.22 * m.smile.clamp_min(0) + 0.25 * m.raised_brows)
        self.canvas.paint(
            ellipse(x, y + 0.02, p.eye_width * 1.35, height * 2.1), 0.72 * self.skin, 0.5, blur=0.08
        )
        eye = ellipse(x, y, p.eye_width, height)
        self.canvas.paint(eye, 0.93 * self.shade)
        towards = x - side * m.gaze * 0.3 * p.eye_width
        self.canvas.paint(
            torch.maximum(circle(towards, y, 0.9 * p.eye_height + 0.008), eye), p.iris.clamp(0, 1)
        )
        self.canvas.paint(torch.maximum(circle(towards, y, 0.42 * p.eye_height), eye), _grey(_INK))
        self.canvas.paint(circle(towards - side * 0.02, y + 0.02, 0.013), _grey(1.0), 0.9)
        lid = torch.maximum(eye.abs() - 0.013, y - 0.1 * height)
        self.canvas.paint(lid, 0.25 * p.skin, 0.9)

    def _brows(self) -> None:
        p, m = self.person, self.moment
        x, y, _ = self._eye_frame()
        level = -p.brow_height - 0.055 * m.raised_brows - 0.02
        middle = level + p.brow_slope * x + p.brow_arch * (x - 0.03) ** 2
        taper = p.brow_thickness * (1 - 2.5 * (x + 0.02).clamp_min(0))
        colour = torch.where(p.bald[:, None] > 0, 0.45 * p.skin, torch.minimum(0.75 * p.hair, 0.8 * p.skin))
        self.canvas.paint(band(x, y, middle, taper, p.eye_width + 0.045), colour.clamp(0, 1), blur=0.012)

    def _nose(self) -> None:
        p, m = self.person, self.moment
        x, y = self._at("nose")
        top, tip = p.eye_level + 0.02, p.eye_level + p.nose_length
        lit = torch.sign(m.light_x)
        bridge = torch.maximum(
            (x + lit * (0.035 + 0.2 * p.nose_width)).abs() - 0.02,
            (y - (top + tip) / 2).abs() - 0.45 * p.nose_length,
        )
        self.canvas.paint(bridge, 0.74 * self.skin, 0.55, blur=0.05)
        ball = merge(
            circle(x, y - tip, 0.045 + 0.25 * p.nose_width),
            ellipse(x.abs() - 0.62 * p.nose_width, y - tip - 0.012, 0.45 * p.nose_width, 0.042),
            0.05,
        )
        self.canvas.paint(ball - 0.012, 0.66 * self.skin, 0.75, blur=0.03)
        self.canvas.paint(ball, 1.02 * self.skin, blur=0.02)
        self.canvas.paint(
            circle(x - lit * 0.02, y - tip + 0.03, 0.02), 1.25 * self.skin + 0.05, 0.6, blur=0.04
        )
        self.canvas.paint(
            ellipse(x.abs() - 0.5 * p.nose_width, y - tip - 0.034, 0.022 + 0.08 * p.nose_width, 0.013),
            0.28 * p.skin,
            0.85,
        )

    def _beard(self) -> None:
        p, m = self.person, self.moment
        x, y = self._at("mouth")
        level = p.eye_level + p.nose_length + p.mouth_level
        side = ((x.abs() / p.face_width - 0.55) / 0.4).clamp(0, 1)
        shaved = ellipse(x, y - level + 0.10, 0.70 * p.face_width, 0.16)
        cheeks = torch.maximum(level - 0.10 - 0.34 * side - y, -shaved)
        bearded = torch.maximum(self.face - 0.025, cheeks)
        colour = (0.85 * p.hair * self._strands()).clamp(0, 1)
        self.canvas.paint(bearded, colour, 0.93 * p.beard, blur=0.03)
        middle = level - 0.088 + 1.3 * x * x - 0.015 * m.smile
        fringe = band(x, y, middle, 0.040 - 0.08 * x.abs(), 1.15 * p.mouth_width)
        self.canvas.paint(fringe, colour, 0.95 * p.mustache, blur=0.015)

    def _mouth(self) -> None:
        p, m = self.person, self.moment
        x, y = self._at("mouth")
        width = p.mouth_width * (1 + 0.22 * m.smile - 0.12 * m.open_mouth)
        bow = 1 - (x / width) ** 2
        taper = bow.clamp_min(0)
        line = p.eye_level + p.nose_length + p.mouth_level + 0.085 * m.smile * (bow - 0.55)
        top, bottom = line - 0.015 * m.open_mouth * taper, line + 0.135 * m.open_mouth * taper
        beyond = x.abs() - width
        lips = torch.maximum(
            torch.maximum(top - p.lip_height * 0.8 * taper - y, y - bottom - p.lip_height * 1.15 * taper),
            beyond,
        )
        self.canvas.paint(lips, (p.lips * self.shade).clamp(0, 1), blur=0.01)
        gap = torch.maximum(torch.maximum(top - y, y - bottom), beyond + 0.02)
        parted = (5 * m.open_mouth).clamp_max(1)
        self.canvas.paint(gap, _colour(0.28, 0.07, 0.08), parted)
        self.canvas.paint(torch.maximum(gap, y - top - 0.05), _grey(0.94), parted)
        self.canvas.paint(band(x, y, line, 0.008, width), 0.35 * p.skin, 1 - parted)
        fold = circle(x.abs() - 0.55 * width, y - line + 0.05, 0.85 * width).abs() - 0.008
        laugh = torch.maximum(fold, torch.maximum(y - line - 0.02, 0.75 * width - x.abs()))
        self.canvas.paint(laugh, 0.62 * self.skin, 0.5 * m.smile.clamp_min(0), blur=0.02)

    def _hair(self) -> None:
        p = self.person
        x, y = self._at("hair")
        width, height = p.face_width + 0.05 + 0.35 * p.volume, 0.56 + 0.6 * p.volume
        scalp = ellipse(x, y + 0.12 + 0.3 * p.volume, width, height) - self._lobes()
        fx, fy = self._at("eyes")
        opening = ellipse(fx - 0.4 * p.parting, fy - 0.30, 0.90 * p.face_width, 0.30 - p.hairline)
        sides = torch.where(p.long_hair > 0, 0.60, p.eye_level + 0.06)
        cap = torch.maximum(torch.maximum(scalp, -opening), y - sides)
        locks = box(x.abs() - p.face_width - 0.03, y - 0.30, 0.06 + 0.3 * p.volume, 0.62, 0.1) - self._lobes()
        cap = torch.where(p.long_hair > 0, merge(cap, locks, 0.1), cap)
        colour = (p.hair * self._strands() * (0.35 + 0.65 * self.shade)).clamp(0, 1)
        self.canvas.paint(cap, colour, 1 - p.bald, blur=0.015)
        edge = p.eye_level - p.brow_height - 0.02 + 0.4 * (fx - p.parting) ** 2 + 0.012 * torch.sin(40 * fx)
        edge = torch.minimum(edge, p.eye_level - p.eye_height - 0.035)
        bangs = torch.maximum(torch.maximum(scalp, fy - edge), self.face - 0.03)
        self.canvas.paint(bangs, colour, p.bangs, blur=0.02)

    def _glasses(self) -> None:
        p = self.person
        x, y, _ = self._eye_frame()
        y = y - p.eye_tilt * x  # frames sit level whatever the eyes do
        width, height = p.lens_width * p.eye_width, p.lens_width * 0.085
        lens = box(x, y, width, height, p.lens_corner * height)
        self.canvas.paint(lens, _grey(0.9), 0.14 * p.glasses)
        bridge = torch.maximum((y + 0.02).abs() - 0.014, x + width)
        temple = torch.maximum(
            torch.maximum((y + 0.03).abs() - 0.014, width - x), self.x.abs() - p.face_width - 0.02
        )
        wire = torch.minimum(lens.abs() - 0.019, torch.minimum(bridge, temple))
        self.canvas.paint(wire, p.frame.clamp(0, 1), p.glasses)

    def _lobes(self) -> Tensor:
        """How far curls push the hair's outline out."""
        p = self.person
        return p.curl * torch.sin(p.curls * torch.atan2(self.y + 0.1, self.x))

    def _strands(self) -> Tensor:
        p = self.person
        wave = torch.sin(
            (22 + p.curls) * self.x + 6 * self.y * p.parting + 60 * p.curl * torch.sin(9 * self.y)
        )
        return (1 + 0.13 * wave).unsqueeze(1)


def _colour(red: float, green: float, blue: float) -> Tensor:
    return torch.tensor([red, green, blue]).view(1, 3, 1, 1)


def _grey(value: float) -> Tensor:
    return _colour(value, value, value)
