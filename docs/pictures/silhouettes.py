"""Simple silhouettes of famous landmarks in the light of a time of day."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

STONE, CREAM, SAND, IRON = (
    (206, 190, 164),
    (236, 226, 206),
    (222, 186, 130),
    (120, 98, 84),
)
WHITE, STEEL, GREY, SLATE = (
    (240, 238, 234),
    (150, 168, 184),
    (150, 150, 148),
    (122, 112, 108),
)
RED, BLUE, JADE, INK = (190, 62, 46), (104, 118, 148), (110, 146, 130), (64, 58, 64)
LIGHT = (255, 255, 255)


@dataclass(frozen=True)
class Hour:
    """The colours of a time of day: the sky above and at the horizon, the tint and its share, the sun."""

    above: Colour
    below: Colour
    tint: Colour
    share: float
    sun: Colour
    dark: bool = False


class Brush:
    """Draws in the coordinates of a landmark: x from -1 to 1, y from 0 (the ground) to 1."""

    def __init__(
        self, draw: ImageDraw.ImageDraw, centre: Point, scale: float, hour: Hour
    ) -> None:
        self._draw, self._centre, self._scale, self.hour = draw, centre, scale, hour

    def at(self, x: float, y: float) -> Point:
        return self._centre[0] + x * self._scale, self._centre[1] - y * self._scale

    def shape(self, points: Sequence[Point], colour: Colour) -> None:
        self._draw.polygon([self.at(x, y) for x, y in points], fill=self.lit(colour))

    def box(
        self,
        left: float,
        right: float,
        foot: float,
        top: float,
        colour: Colour,
        lean: float = 0,
    ) -> None:
        """A wall, with its right third in the shade."""
        for share, shade in ((0.0, 0.0), (0.68, 0.22)):
            x = left + (right - left) * share
            corners = ((x, foot), (x + lean, top), (right + lean, top), (right, foot))
            self.shape(corners, mixed(colour, (40, 36, 60), shade))

    def round(
        self, x: float, y: float, wide: float, high: float, colour: Colour
    ) -> None:
        corners = (*self.at(x - wide, y + high), *self.at(x + wide, y - high))
        self._draw.ellipse(corners, fill=self.lit(colour))

    def line(
        self, points: Sequence[Point], colour: Colour, width: float = 0.012
    ) -> None:
        px = max(1, round(width * self._scale))
        self._draw.line(
            [self.at(x, y) for x, y in points],
            fill=self.lit(colour),
            width=px,
            joint="curve",
        )

    def opening(self, x: float, foot: float, wide: float, high: float) -> None:
        """A window or a gate with a round top; lit at night."""
        colour = (255, 214, 130) if self.hour.dark else (70, 62, 70)
        points = [(x - wide, foot), (x - wide, foot + high)]
        points += [
            (x + wide * np.cos(a), foot + high + wide * np.sin(a))
            for a in np.linspace(np.pi, 0, 9)
        ]
        unlit = [self.at(px, py) for px, py in (*points, (x + wide, foot))]
        self._draw.polygon(unlit, fill=colour if self.hour.dark else self.lit(colour))

    def lit(self, colour: Colour) -> Colour:
        return mixed(colour, self.hour.tint, self.hour.share)


def mixed(one: Colour, other: Colour, share: float) -> Colour:
    red, green, blue = (
        round(a + (b - a) * share) for a, b in zip(one, other, strict=True)
    )
    return red, green, blue


# --- Landmarks.


def lattice_tower(brush: Brush, colour: Colour) -> None:
    heights = np.linspace(0, 1, 24)
    half = 0.02 + 0.34 * (1 - heights) ** 2.6
    sides = [
        *zip(-half, heights, strict=True),
        *zip(half[::-1], heights[::-1], strict=True),
    ]
    brush.shape([(float(x), float(y)) for x, y in sides], colour)
    brush.shape(
        [(-0.2, 0), (-0.13, 0.12), (0, 0.17), (0.13, 0.12), (0.2, 0)], brush.hour.below
    )
    for y, wide in ((0.22, 0.24), (0.45, 0.13), (0.86, 0.04)):
        brush.box(-wide, wide, y, y + 0.03, colour)
    for low, high in ((0.25, 0.45), (0.48, 0.66), (0.66, 0.86)):
        wide, less = (0.02 + 0.34 * (1 - y) ** 2.6 for y in (low, high))
        for side in (-1, 1):
            brush.line(
                [(side * wide, low), (-side * less, high)],
                mixed(colour, LIGHT, 0.3),
                0.008,
            )
    brush.line([(0, 1), (0, 1.1)], colour)


def clock_tower(brush: Brush, colour: Colour) -> None:
    brush.box(-0.7, -0.12, 0, 0.26, colour)
    for x in np.linspace(-0.64, -0.2, 7):
        brush.opening(float(x), 0.06, 0.02, 0.1)
    brush.box(-0.12, 0.12, 0, 0.74, colour)
    for x in (-0.06, 0, 0.06):
        brush.line([(x, 0.03), (x, 0.56)], mixed(colour, (60, 50, 40), 0.4), 0.01)
    brush.box(-0.145, 0.145, 0.58, 0.8, mixed(colour, LIGHT, 0.15))
    brush.round(0, 0.69, 0.09, 0.09, (70, 62, 60))
    brush.round(0, 0.69, 0.075, 0.075, (252, 246, 220))
    brush.line([(0, 0.69), (0, 0.745)], (40, 40, 40))
    brush.line([(0, 0.69), (0.035, 0.67)], (40, 40, 40))
    brush.shape(
        [(-0.145, 0.8), (-0.07, 0.92), (0, 1.12), (0.07, 0.92), (0.145, 0.8)],
        (92, 104, 100),
    )


def leaning_tower(brush: Brush, colour: Colour) -> None:
    for storey in range(7):
        foot, lean = storey * 0.125, 0.02
        x = foot * 0.16
        wide = 0.17 if storey < 6 else 0.13
        brush.box(x - wide, x + wide, foot, foot + 0.12, colour, lean)
        brush.line(
            [(x - wide, foot), (x + wide, foot)], mixed(colour, (60, 50, 40), 0.35)
        )
        for column in np.linspace(-wide * 0.8, wide * 0.8, 7):
            brush.opening(x + float(column) + lean / 2, foot + 0.02, 0.014, 0.05)


def temple(brush: Brush, colour: Colour) -> None:
    brush.box(-0.9, 0.9, 0, 0.06, mixed(colour, (80, 80, 80), 0.2))
    brush.shape(
        [(-0.8, 0.06), (-0.8, 0.45), (0.8, 0.45), (0.8, 0.06)],
        mixed(colour, (50, 40, 50), 0.6),
    )
    for x in np.linspace(-0.74, 0.74, 8):
        brush.box(float(x) - 0.05, float(x) + 0.05, 0.06, 0.45, colour)
    brush.box(-0.84, 0.84, 0.45, 0.54, colour)
    brush.shape([(-0.9, 0.54), (0, 0.76), (0.9, 0.54)], mixed(colour, LIGHT, 0.15))
    brush.shape(
        [(-0.66, 0.57), (0, 0.72), (0.66, 0.57)], mixed(colour, (60, 50, 50), 0.3)
    )


def gate(brush: Brush, colour: Colour) -> None:
    for x in (-0.66, -0.4, -0.14, 0.14, 0.4, 0.66):
        brush.box(x - 0.06, x + 0.06, 0, 0.48, colour)
    brush.box(-0.76, 0.76, 0.48, 0.62, mixed(colour, LIGHT, 0.1))
    brush.box(-0.5, 0.5, 0.62, 0.7, colour)
    for x in (-0.14, -0.06, 0.02, 0.12):
        brush.shape(
            [(x - 0.05, 0.7), (x - 0.02, 0.82), (x + 0.03, 0.78), (x + 0.05, 0.7)], JADE
        )


def arch(brush: Brush, colour: Colour) -> None:
    brush.box(-0.5, 0.5, 0, 0.8, colour)
    brush.box(-0.54, 0.54, 0.66, 0.72, mixed(colour, LIGHT, 0.25))
    brush.box(-0.5, 0.5, 0.8, 0.9, mixed(colour, (90, 80, 70), 0.15))
    brush.opening(0, 0, 0.17, 0.36)
    for x in (-0.36, 0.36):
        brush.box(x - 0.08, x + 0.08, 0.12, 0.42, mixed(colour, LIGHT, 0.3))


def dome(brush: Brush, colour: Colour) -> None:
    for x in (-0.95, 0.95):
        brush.box(x - 0.035, x + 0.035, 0, 0.78, colour)
        brush.round(x, 0.8, 0.05, 0.05, colour)
    brush.box(-0.6, 0.6, 0, 0.42, colour)
    for x in (-0.36, 0.36):
        brush.round(x, 0.46, 0.13, 0.13, colour)
    brush.box(-0.2, 0.2, 0.42, 0.54, mixed(colour, (80, 80, 90), 0.1))
    brush.round(0, 0.66, 0.25, 0.22, mixed(colour, LIGHT, 0.2))
    brush.shape([(-0.08, 0.84), (0, 1.02), (0.08, 0.84)], mixed(colour, LIGHT, 0.2))
    brush.opening(0, 0, 0.12, 0.2)
    for x in (-0.46, -0.28, 0.28, 0.46):
        brush.opening(x, 0.04, 0.05, 0.08)
        brush.opening(x, 0.24, 0.05, 0.06)


def pyramids(brush: Brush, colour: Colour) -> None:
    for x, high in ((0.75, 0.42), (-0.7, 0.55), (0.05, 0.78)):
        wide = high * 0.85
        brush.shape([(x - wide, 0), (x, high), (x + wide, 0)], colour)
        brush.shape(
            [(x + wide * 0.25, 0), (x, high), (x + wide, 0)],
            mixed(colour, (60, 40, 50), 0.35),
        )


def stepped_pyramid(brush: Brush, colour: Colour) -> None:
    for step in range(8):
        wide, foot = 0.85 - step * 0.085, step * 0.075
        brush.box(
            -wide,
            wide,
            foot,
            foot + 0.07,
            mixed(colour, (70, 60, 50), 0.12 * (step % 2)),
        )
    brush.shape(
        [(-0.14, 0), (-0.1, 0.6), (0.1, 0.6), (0.14, 0)], mixed(colour, LIGHT, 0.25)
    )
    brush.box(-0.2, 0.2, 0.6, 0.74, colour)
    brush.opening(0, 0.6, 0.04, 0.05)


def cathedral(brush: Brush, colour: Colour) -> None:
    brush.box(-0.34, 0.34, 0, 0.6, colour)
    for x in (-0.26, 0.26):
        brush.box(x - 0.13, x + 0.13, 0, 0.74, mixed(colour, LIGHT, 0.08))
        brush.shape(
            [(x - 0.13, 0.74), (x, 1.12), (x + 0.13, 0.74)],
            mixed(colour, (50, 60, 70), 0.4),
        )
        for foot in (0.28, 0.52):
            brush.opening(x, foot, 0.045, 0.12)
        brush.opening(x, 0, 0.05, 0.1)
    brush.round(0, 0.48, 0.1, 0.1, (92, 88, 120))
    brush.opening(0, 0, 0.07, 0.14)


def castle(brush: Brush, colour: Colour) -> None:
    roof = (78, 92, 120)
    for x, wide, high in ((0.1, 0.3, 0.46), (-0.3, 0.24, 0.36), (0.5, 0.2, 0.34)):
        brush.box(x - wide, x + wide, 0, high, colour)
        brush.shape(
            [
                (x - wide, high),
                (x - wide + 0.08, high + 0.16),
                (x + wide - 0.08, high + 0.16),
                (x + wide, high),
            ],
            roof,
        )
    for x, high in ((-0.58, 0.62), (-0.06, 0.84), (0.38, 0.7), (0.74, 0.5)):
        brush.box(x - 0.07, x + 0.07, 0, high, mixed(colour, LIGHT, 0.2))
        brush.shape([(x - 0.1, high), (x, high + 0.28), (x + 0.1, high)], roof)
        brush.opening(x, high - 0.14, 0.02, 0.05)
    for x in (-0.4, -0.24, 0.1, 0.22, 0.56):
        brush.opening(x, 0.16, 0.03, 0.08)


def skyscraper(brush: Brush, colour: Colour) -> None:
    for x, wide, high in (
        (-0.62, 0.13, 0.4),
        (0.58, 0.16, 0.34),
        (-0.34, 0.1, 0.3),
        (0.34, 0.09, 0.48),
    ):
        brush.box(x - wide, x + wide, 0, high, GREY)
    for wide, high in ((0.2, 0.4), (0.15, 0.66), (0.1, 0.86), (0.05, 1.0)):
        brush.box(-wide, wide, 0, high, colour)
    brush.line([(0, 1), (0, 1.2)], colour)
    for y in np.linspace(0.05, 0.8, 16):
        brush.line(
            [(-0.08, float(y)), (0.08, float(y))],
            mixed(colour, (255, 240, 190), 0.6),
            0.006,
        )


def suspension_bridge(brush: Brush, colour: Colour) -> None:
    across = np.linspace(-1.9, 1.9, 77)
    sag = [
        0.22 + 0.5 * (abs(abs(x) - 0.8) / 0.8 - 1) ** 2 if abs(x) < 1.6 else 0.22
        for x in across
    ]
    for x, y in zip(across[::2], sag[::2], strict=True):
        brush.line([(float(x), 0.2), (float(x), y)], mixed(colour, LIGHT, 0.15), 0.006)
    brush.line([(float(x), y) for x, y in zip(across, sag, strict=True)], colour, 0.022)
    brush.box(-2.5, 2.5, 0.16, 0.22, colour)
    for x in (-0.8, 0.8):
        for side in (-0.06, 0.06):
            brush.box(x + side - 0.024, x + side + 0.024, -0.06, 0.76, colour)
        for y in (0.34, 0.48, 0.62, 0.73):
            brush.box(x - 0.06, x + 0.06, y, y + 0.03, colour)


def aqueduct(brush: Brush, colour: Colour) -> None:
    brush.box(-2.4, 2.4, 0, 0.62, colour)
    for foot, half, high, gap in ((-0.04, 0.16, 0.16, 0.4), (0.34, 0.085, 0.1, 0.2)):
        for x in np.arange(-2.4, 2.4, gap):
            points = [(x - half, foot), (x - half, foot + high)]
            points += [
                (x + half * np.cos(a), foot + high + half * np.sin(a))
                for a in np.linspace(np.pi, 0, 9)
            ]
            brush.shape(
                [*points, (x + half, foot)],
                mixed(brush.hour.below, (90, 110, 100), 0.35),
            )
    for y in (0.33, 0.6):
        brush.line([(-2.4, y), (2.4, y)], mixed(colour, (70, 60, 50), 0.35), 0.018)


def sails(brush: Brush, colour: Colour) -> None:
    brush.box(-0.95, 0.95, 0, 0.12, (170, 140, 120))
    for x, high, way in (
        (-0.62, 0.42, 1),
        (-0.28, 0.62, 1),
        (0.12, 0.74, 1),
        (0.62, 0.46, -1),
    ):
        curve = [
            (x + way * (t * 0.34), 0.12 + high * np.sin(t * np.pi / 2))
            for t in np.linspace(0, 1, 12)
        ]
        brush.shape([(x - way * 0.05, 0.12), *curve, (x + way * 0.22, 0.12)], colour)
        brush.shape(
            [curve[-1], (x + way * 0.22, 0.12), (x + way * 0.1, 0.12)],
            mixed(colour, (90, 90, 110), 0.3),
        )


def standing_stones(brush: Brush, colour: Colour) -> None:
    for x, wide, high in (
        (-0.95, 0.1, 0.3),
        (-0.62, 0.1, 0.42),
        (-0.28, 0.1, 0.42),
        (0.1, 0.11, 0.46),
        (0.46, 0.11, 0.46),
        (0.86, 0.09, 0.28),
    ):
        brush.box(x - wide, x + wide, 0, high, colour, 0.02)
    for left, right, top in ((-0.76, -0.12, 0.42), (-0.04, 0.62, 0.46)):
        brush.box(left, right, top, top + 0.11, mixed(colour, LIGHT, 0.12))


def torii(brush: Brush, colour: Colour) -> None:
    for x in (-0.5, 0.5):
        brush.box(x - 0.06, x + 0.06, -0.04, 0.72, colour)
    brush.box(-0.66, 0.66, 0.5, 0.57, colour)
    brush.shape(
        [(-0.86, 0.86), (-0.7, 0.7), (0.7, 0.7), (0.86, 0.86), (0, 0.8)], (66, 56, 58)
    )
    brush.box(-0.07, 0.07, 0.57, 0.7, colour)


def peak(brush: Brush, colour: Colour) -> None:
    brush.shape(
        [(-1.7, 0), (-0.5, 0.52), (-0.12, 0.92), (0.12, 0.92), (0.5, 0.52), (1.7, 0)],
        colour,
    )
    brush.shape(
        [(0.3, 0), (0.06, 0.5), (0.12, 0.92), (0.5, 0.52), (1.7, 0)],
        mixed(colour, (40, 40, 70), 0.3),
    )
    snow = [
        (-0.33, 0.69),
        (-0.12, 0.92),
        (0.12, 0.92),
        (0.33, 0.69),
        (0.22, 0.72),
        (0.12, 0.62),
        (0, 0.72),
        (-0.14, 0.6),
    ]
    brush.shape(snow, WHITE)


@dataclass(frozen=True)
class Silhouette:
    """The function and colour that draw a landmark, and whether water is in front of it."""

    draw: Callable[[Brush, Colour], None]
    colour: Colour
    water: bool = False


SILHOUETTES = {
    "eiffel-tower": Silhouette(lattice_tower, IRON),
    "arc-de-triomphe": Silhouette(arch, CREAM),
    "pont-du-gard": Silhouette(aqueduct, SAND, water=True),
    "big-ben": Silhouette(clock_tower, SAND, water=True),
    "stonehenge": Silhouette(standing_stones, GREY),
    "leaning-tower-of-pisa": Silhouette(leaning_tower, WHITE),
    "parthenon": Silhouette(temple, CREAM),
    "brandenburg-gate": Silhouette(gate, STONE),
    "cologne-cathedral": Silhouette(cathedral, SLATE),
    "neuschwanstein": Silhouette(castle, WHITE),
    "taj-mahal": Silhouette(dome, WHITE, water=True),
    "pyramids-of-giza": Silhouette(pyramids, SAND),
    "chichen-itza": Silhouette(stepped_pyramid, STONE),
    "golden-gate-bridge": Silhouette(suspension_bridge, RED, water=True),
    "burj-khalifa": Silhouette(skyscraper, STEEL),
    "sydney-opera-house": Silhouette(sails, WHITE, water=True),
    "itsukushima-torii": Silhouette(torii, RED, water=True),
    "mount-fuji": Silhouette(peak, BLUE),
}
