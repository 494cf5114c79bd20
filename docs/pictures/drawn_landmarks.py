"""Drawn photos of real landmarks at different hours, framings and weathers, reproducible by seed."""

import random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from docs.pictures.silhouettes import SILHOUETTES, Brush, Colour, Hour, mixed

Size = tuple[int, int]
SUPERSAMPLED = 1.5
HOURS = (
    Hour((58, 120, 196), (200, 224, 240), (255, 250, 236), 0.05, (255, 250, 232)),
    Hour((92, 150, 208), (232, 236, 232), (255, 246, 224), 0.08, (255, 248, 226)),
    Hour((122, 142, 160), (220, 222, 220), (190, 198, 208), 0.25, (236, 236, 230)),
    Hour((70, 92, 150), (252, 200, 140), (255, 178, 104), 0.28, (255, 236, 190)),
    Hour((66, 54, 110), (246, 146, 112), (214, 110, 100), 0.36, (255, 214, 160)),
    Hour((14, 22, 54), (58, 76, 120), (30, 44, 92), 0.58, (244, 240, 220), dark=True),
)
GROUNDS = (
    (104, 134, 78),
    (140, 148, 92),
    (188, 170, 126),
    (160, 156, 148),
    (86, 116, 92),
)
WATERS = ((74, 116, 150), (92, 136, 148))


GAZETTEER = """\
label,slug,name,country,city,latitude,longitude,extent
eiffel-tower,eiffel-tower,Eiffel Tower,France,Paris,48.8584,2.2945,point
arc-de-triomphe,arc-de-triomphe,Arc de Triomphe,France,Paris,48.8738,2.2950,point
pont-du-gard,pont-du-gard,Pont du Gard,France,Vers-Pont-du-Gard,43.9475,4.5350,point
big-ben,big-ben,Big Ben,United Kingdom,London,51.5007,-0.1246,point
stonehenge,stonehenge,Stonehenge,United Kingdom,Amesbury,51.1789,-1.8262,point
leaning-tower-of-pisa,leaning-tower-of-pisa,Leaning Tower of Pisa,Italy,Pisa,43.7230,10.3966,point
parthenon,parthenon,Parthenon,Greece,Athens,37.9715,23.7267,point
brandenburg-gate,brandenburg-gate,Brandenburg Gate,Germany,Berlin,52.5163,13.3777,point
cologne-cathedral,cologne-cathedral,Cologne Cathedral,Germany,Cologne,50.9413,6.9583,point
neuschwanstein,neuschwanstein,Neuschwanstein Castle,Germany,Schwangau,47.5576,10.7498,point
taj-mahal,taj-mahal,Taj Mahal,India,Agra,27.1751,78.0421,point
pyramids-of-giza,pyramids-of-giza,Great Pyramid of Giza,Egypt,Giza,29.9792,31.1342,point
chichen-itza,chichen-itza,Chichén Itzá,Mexico,Tinúm,20.6843,-88.5678,point
golden-gate-bridge,golden-gate-bridge,Golden Gate Bridge,United States,San Francisco,37.8199,-122.4783,point
burj-khalifa,burj-khalifa,Burj Khalifa,United Arab Emirates,Dubai,25.1972,55.2744,point
sydney-opera-house,sydney-opera-house,Sydney Opera House,Australia,Sydney,-33.8568,151.2153,point
itsukushima-torii,itsukushima-torii,Itsukushima Floating Torii,Japan,Hatsukaichi,34.2973,132.3180,point
mount-fuji,mount-fuji,Mount Fuji,Japan,,35.3606,138.7274,area
"""
"""The landmarks' names and coordinates, as a file that the trainer reads."""


def draw_landmark(
    slug: str | None, seed: int, size: tuple[int, int] = (900, 600)
) -> Image.Image:
    """Draw a photo of the landmark, or of no landmark (None)."""
    rng = random.Random(seed)
    hour = rng.choices(HOURS, (4, 3, 2, 3, 2, 1))[0]
    width, height = canvas = (
        round(size[0] * SUPERSAMPLED),
        round(size[1] * SUPERSAMPLED),
    )
    horizon = height * rng.uniform(0.66, 0.78)
    picture = _sky(hour, rng, canvas, horizon)
    draw = ImageDraw.Draw(picture)
    for distance in (0.75, 0.5, 0.25):
        _hills(draw, hour, rng, canvas, horizon, distance)
    silhouette = SILHOUETTES[slug] if slug else None
    at_water = silhouette.water if silhouette else rng.random() < 0.3
    ground = mixed(rng.choice(WATERS if at_water else GROUNDS), hour.tint, hour.share)
    draw.rectangle((0, horizon, *canvas), fill=mixed(ground, hour.below, 0.2))
    if silhouette:
        scale = min(height * rng.uniform(0.5, 0.6), width * rng.uniform(0.42, 0.54))
        centre = (width * rng.uniform(0.42, 0.58), horizon + height * 0.015)
        silhouette.draw(Brush(draw, centre, scale, hour), silhouette.colour)
    if at_water:
        _mirror(picture, round(horizon), ground)
    else:
        _bushes(draw, hour, rng, canvas, horizon)
    small = picture.resize(size, Image.Resampling.LANCZOS)
    grain = np.random.default_rng(seed).normal(0, 1.2, (size[1], size[0], 1))
    return Image.fromarray(np.clip(np.asarray(small) + grain, 0, 255).astype(np.uint8))


def _sky(hour: Hour, rng: random.Random, size: Size, horizon: float) -> Image.Image:
    down = np.clip(np.arange(size[1]) / horizon, 0, 1)[:, None, None]
    colours = (
        np.array(hour.above) * (1 - down) + np.array(hour.below) * down
    )  # (H, 1, 3)
    x, y = size[0] * rng.uniform(0.1, 0.9), horizon * rng.uniform(0.15, 0.85)
    across = np.hypot(
        np.arange(size[0])[None, :] - x, np.arange(size[1])[:, None] - y
    ) / min(size)
    glow = np.exp(-across * (9 if hour.dark else 3.2))[:, :, None] * 0.75
    sky = Image.fromarray(
        (colours * (1 - glow) + np.array(hour.sun) * glow).astype(np.uint8)
    )
    draw = ImageDraw.Draw(sky)
    radius = min(size) * 0.03
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=hour.sun)
    for _ in range(90 if hour.dark else 0):
        star = rng.uniform(0, size[0]), rng.uniform(0, horizon * 0.8)
        draw.ellipse(
            (*star, star[0] + 3, star[1] + 3),
            fill=mixed(hour.above, (255, 255, 255), rng.random()),
        )
    return _clouded(sky, hour, rng, horizon)


def _clouded(
    sky: Image.Image, hour: Hour, rng: random.Random, horizon: float
) -> Image.Image:
    veil = Image.new("L", (sky.width // 8, sky.height // 8))
    draw = ImageDraw.Draw(veil)
    for _ in range(rng.randint(0, 5)):
        x, y = veil.width * rng.random(), horizon / 8 * rng.uniform(0.1, 0.7)
        for _ in range(7):
            wide = veil.width * rng.uniform(0.03, 0.09)
            left, top = x + rng.uniform(-2, 2) * wide, y + rng.uniform(-0.2, 0.2) * wide
            draw.ellipse(
                (left - wide, top - wide * 0.3, left + wide, top + wide * 0.3),
                fill=rng.randint(90, 170),
            )
    soft = veil.filter(ImageFilter.GaussianBlur(veil.width / 60)).resize(
        sky.size, Image.Resampling.BICUBIC
    )
    light = mixed(mixed(hour.below, (255, 255, 255), 0.6), hour.tint, hour.share)
    return Image.composite(Image.new("RGB", sky.size, light), sky, soft)


def _hills(
    draw: ImageDraw.ImageDraw,
    hour: Hour,
    rng: random.Random,
    size: tuple[int, int],
    horizon: float,
    distance: float,
) -> None:
    across = np.linspace(0, 1, 80)
    waves = [
        np.sin(across * 4 * k + rng.uniform(0, 6.28)) / k**1.3 for k in (1, 2, 3, 5)
    ]
    heights = horizon - size[1] * (
        0.02 + 0.09 * distance + 0.035 * np.sum(waves, axis=0)
    )
    ridge = [
        (float(x) * size[0], float(y)) for x, y in zip(across, heights, strict=True)
    ]
    fill = mixed(mixed((62, 96, 84), hour.tint, hour.share), hour.below, distance)
    draw.polygon([(0, size[1]), *ridge, (size[0], size[1])], fill=fill)


def _mirror(picture: Image.Image, horizon: int, water: Colour) -> None:
    """Draw the reflection in the water: darker, and blurred horizontally."""
    wide, below = picture.width, picture.height - horizon
    above = picture.crop((0, horizon - below, wide, horizon)).transpose(
        Image.Transpose.FLIP_TOP_BOTTOM
    )
    streaks = above.resize((wide // 40, below // 4)).resize(
        above.size, Image.Resampling.BICUBIC
    )
    rippled = Image.blend(above.filter(ImageFilter.BoxBlur(6)), streaks, 0.5)
    picture.paste(
        Image.blend(rippled, Image.new("RGB", above.size, water), 0.35), (0, horizon)
    )


def _bushes(
    draw: ImageDraw.ImageDraw,
    hour: Hour,
    rng: random.Random,
    size: Size,
    horizon: float,
) -> None:
    """Draw bushes along the horizon; small ones in front of the landmark."""
    leaf = mixed(mixed((58, 92, 60), hour.tint, hour.share), hour.below, 0.08)
    for _ in range(rng.randint(8, 22)):
        x, radius = rng.random(), size[1] * rng.uniform(0.015, 0.045)
        if 0.2 < x < 0.8:
            radius *= 0.35
        left, y = size[0] * x, horizon + size[1] * 0.02
        draw.ellipse(
            (left - radius, y - radius * 1.7, left + radius, y + radius * 0.3),
            fill=leaf,
        )
