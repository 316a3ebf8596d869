"""One puppet: its build (proportions) and its look (colours, clothes, hair), both drawn at random from a seed."""

import colorsys
from dataclasses import dataclass

import numpy as np

Rgb = tuple[int, int, int]

SKINS: tuple[Rgb, ...] = (
    (255, 219, 187),
    (241, 194, 155),
    (214, 158, 116),
    (165, 112, 78),
    (112, 74, 52),
    (150, 190, 150),
)
HAIR_STYLES = ("short", "long", "bun", "spikes", "cap")
PATTERNS = ("plain", "hoops", "stripes", "dots", "halves")
LEGWEAR = ("trousers", "shorts", "skirt")


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """The lengths of a puppet as fractions of the standing height."""

    head: float  # half the height of the head
    head_aspect: float  # width over height of the head
    torso: float  # neck to hips
    shoulder: float  # half the distance between the shoulders
    hip: float
    upper_arm: float
    forearm: float
    hand: float
    thigh: float
    shin: float
    foot: float
    arm_width: float
    leg_width: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Build":
        """Draw proportions; heads are large, so that a face still shows its expression at 96 pixels."""
        return cls(
            head=rng.uniform(0.135, 0.165),
            head_aspect=rng.uniform(0.82, 1.0),
            torso=rng.uniform(0.25, 0.30),
            shoulder=rng.uniform(0.10, 0.135),
            hip=rng.uniform(0.055, 0.08),
            upper_arm=rng.uniform(0.14, 0.17),
            forearm=rng.uniform(0.13, 0.16),
            hand=rng.uniform(0.055, 0.07),
            thigh=rng.uniform(0.16, 0.20),
            shin=rng.uniform(0.15, 0.19),
            foot=rng.uniform(0.06, 0.08),
            arm_width=rng.uniform(0.048, 0.064),
            leg_width=rng.uniform(0.065, 0.085),
        )

    @property
    def neck(self) -> float:
        return 0.03

    @property
    def leg(self) -> float:
        return self.thigh + self.shin


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The clothes and colours of a puppet; a reference image shows all of them."""

    skin: Rgb
    hair: Rgb
    hair_style: str
    iris: Rgb
    shirt: Rgb
    shirt_second: Rgb
    pattern: str
    long_sleeves: bool
    legwear: str
    trousers: Rgb
    shoes: Rgb

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Look":
        return cls(
            skin=SKINS[rng.integers(len(SKINS))],
            hair=random_colour(rng, value=(0.25, 0.75)),
            hair_style=HAIR_STYLES[rng.integers(len(HAIR_STYLES))],
            iris=random_colour(rng, value=(0.2, 0.5)),
            shirt=random_colour(rng, value=(0.4, 1.0)),
            shirt_second=random_colour(rng, value=(0.4, 1.0)),
            pattern=PATTERNS[rng.integers(len(PATTERNS))],
            long_sleeves=bool(rng.random() < 0.5),
            legwear=LEGWEAR[rng.integers(len(LEGWEAR))],
            trousers=random_colour(rng, value=(0.3, 0.85)),
            shoes=random_colour(rng, value=(0.25, 0.9)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Character:
    """A look on a build; the two vary independently, so that one can be kept while the other is exchanged."""

    build: Build
    look: Look

    @classmethod
    def random(cls, rng: np.random.Generator) -> "Character":
        return cls(build=Build.random(rng), look=Look.random(rng))


def random_colour(rng: np.random.Generator, *, value: tuple[float, float]) -> Rgb:
    """Draw a muted colour of any hue, with its brightness (HSV value) in the given range."""
    r, g, b = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.2, 0.6), rng.uniform(*value))
    return int(r * 255), int(g * 255), int(b * 255)


def shade(colour: Rgb, factor: float) -> Rgb:
    """Darken a colour (factor < 1) or lighten it, clipped to the range of a byte."""
    r, g, b = (min(int(channel * factor), 255) for channel in colour)
    return r, g, b
