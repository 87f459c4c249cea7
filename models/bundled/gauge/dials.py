"""Draws photo-like pictures of pressure gauges, 0 to 10 bar, of many makes, in many lights.

Everything that a plant varies varies: face and bezel, scale and figures, needle, how it was hung, from where it was taken,
light, glare, dust, blur, noise. The scale runs clockwise over about 270 degrees, as on every Bourdon gauge (EN 837-1).
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FULL_SCALE = 10.0
"""Bar."""
SIZE = 256
"""Side of the square in which a gauge is drawn, before it is photographed."""


def grey(rng: np.random.Generator, low: int, high: int) -> tuple:
    """A grey that leans a little to some colour."""
    level = rng.uniform(low, high)
    return tuple(int(np.clip(level + rng.uniform(-12, 12), 0, 255)) for _ in range(3))


def point(angle: float, radius: float) -> tuple:
    """Degrees clockwise from the top and a share of half the side, in pixels."""
    turn = np.radians(angle)
    return SIZE / 2 + np.sin(turn) * radius * SIZE / 2, SIZE / 2 - np.cos(turn) * radius * SIZE / 2


def disc(draw: ImageDraw.ImageDraw, radius: float, fill: tuple, at: tuple = (0.0, 0.0)) -> None:
    """A filled circle; radius and offset as shares of half the side."""
    x, y, r = SIZE / 2 * (1 + at[0]), SIZE / 2 * (1 + at[1]), radius * SIZE / 2
    draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)


def line(draw: ImageDraw.ImageDraw, angle: float, inner: float, outer: float, width: float, fill: tuple) -> None:
    """A stroke along a radius."""
    draw.line((point(angle, inner), point(angle, outer)), fill=fill, width=max(1, round(width * SIZE / 2)))


def gauge(rng: np.random.Generator, value: float) -> Image.Image:
    """A gauge that shows `value` bar, seen from straight ahead."""
    dark_face = rng.random() < 0.15
    face = grey(rng, 15, 60) if dark_face else grey(rng, 205, 252)
    ink = grey(rng, 215, 250) if dark_face else grey(rng, 5, 60)
    picture = Image.new("RGB", (SIZE, SIZE), grey(rng, 30, 220))
    draw = ImageDraw.Draw(picture)
    rim = rng.uniform(0.86, 0.97)
    disc(draw, rim, grey(rng, 20, 220))
    disc(draw, rim - rng.uniform(0.02, 0.07), grey(rng, 60, 230))
    inner = rim - rng.uniform(0.08, 0.12)
    disc(draw, inner, face)

    sweep = 270 + rng.uniform(-6, 6)
    start = -sweep / 2
    at = lambda share: start + share * sweep  # noqa: E731
    outer = inner - rng.uniform(0.03, 0.08)
    minor, long, short = rng.choice([2, 5, 10]), rng.uniform(0.08, 0.14), rng.uniform(0.03, 0.06)
    if rng.random() < 0.6:
        box = (*point(-90, outer), *point(90, outer))
        draw.arc((box[0], SIZE / 2 - outer * SIZE / 2, box[2], SIZE / 2 + outer * SIZE / 2), start - 90, start + sweep - 90, fill=ink, width=2)
    if rng.random() < 0.3:
        first = rng.uniform(0.6, 0.85)
        band = (SIZE / 2 * (1 - outer), SIZE / 2 * (1 - outer), SIZE / 2 * (1 + outer), SIZE / 2 * (1 + outer))
        draw.arc(band, at(first) - 90, at(1.0) - 90, fill=(200, 30, 30), width=int(rng.integers(4, 9)))
    for tick in range(10 * minor + 1):
        major = tick % minor == 0
        line(draw, at(tick / (10 * minor)), outer - (long if major else short), outer, 0.022 if major else 0.01, ink)
    font = ImageFont.truetype(str(rng.choice(FONTS)), int(rng.integers(17, 27))) if FONTS else ImageFont.load_default()
    step = int(rng.choice([1, 2]))
    for figure in range(0, 11, step):
        draw.text(point(at(figure / 10), outer - long - rng.uniform(0.11, 0.13)), str(figure), fill=ink, font=font, anchor="mm")
    if rng.random() < 0.8:
        draw.text(point(180, rng.uniform(0.3, 0.55)), "bar", fill=ink, font=font, anchor="mm")

    angle = at(value / FULL_SCALE)
    needle = (190, 25, 20) if rng.random() < 0.3 else grey(rng, 190, 250) if dark_face else grey(rng, 0, 60)
    tip, tail, width = outer - rng.uniform(0.0, 0.12), rng.uniform(0.1, 0.28), rng.uniform(0.025, 0.06)
    shadow = Image.new("L", picture.size, 0)
    pointer(ImageDraw.Draw(shadow), angle, tip, tail, width, 110)
    offset = tuple(int(o) for o in rng.integers(-4, 8, 2))
    picture.paste((0, 0, 0), offset, shadow.filter(ImageFilter.GaussianBlur(2.5)))
    pointer(draw, angle, tip, tail, width, needle)
    disc(draw, rng.uniform(0.05, 0.11), grey(rng, 20, 200))
    return picture


def pointer(draw: ImageDraw.ImageDraw, angle: float, tip: float, tail: float, width: float, fill) -> None:
    """A needle that narrows to its tip."""
    side = lambda radius, half: (point(angle - np.degrees(half / radius), radius), point(angle + np.degrees(half / radius), radius))  # noqa: E731
    (left, right), (back_left, back_right) = side(0.12, width / 2), side(tail, width / 2)
    mirrored = lambda p: (SIZE - p[0], SIZE - p[1])  # noqa: E731
    draw.polygon([mirrored(back_left), mirrored(back_right), left, point(angle, tip), right], fill=fill)


def photographed(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    """The gauge as a camera on a mast, a phone or a cheap module sees it."""
    width, height = int(rng.integers(160, 321)), int(rng.integers(160, 261))
    side = min(width, height)
    scale = SIZE / (side * rng.uniform(0.78, 1.0))
    turn, tilt, lean = np.radians(rng.normal(0, 3.5)), rng.normal(0, 0.10), rng.normal(0, 0.10)
    turn = np.clip(turn, -0.14, 0.14)
    cos, sin = np.cos(turn) * scale, np.sin(turn) * scale
    cx, cy = width / 2 + rng.normal(0, 0.03) * side, height / 2 + rng.normal(0, 0.03) * side
    # From a pixel of the photograph to the drawing: (a x + b y + c, d x + e y + f) / (g x + h y + 1), with the perspective
    # around the point (cx, cy), which shows the middle of the drawing.
    g, h = np.clip(tilt, -0.2, 0.2) / width, np.clip(lean, -0.2, 0.2) / height
    middle, depth = SIZE / 2, 1 + g * cx + h * cy
    a, b, d, e = cos * depth + middle * g, -sin * depth + middle * h, sin * depth + middle * g, cos * depth + middle * h
    c, f = middle * depth - a * cx - b * cy, middle * depth - d * cx - e * cy
    frame = (a, b, c, d, e, f, g, h)
    ground = grey(rng, 30, 200)
    photo = picture.transform((width, height), Image.Transform.PERSPECTIVE, frame, Image.Resampling.BICUBIC, fillcolor=ground)
    return lit(rng, photo)


def lit(rng: np.random.Generator, photo: Image.Image) -> Image.Image:
    """Light from one side, glare on the glass, dust, blur, noise."""
    width, height = photo.size
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.asarray(photo, np.float32)
    direction = rng.uniform(0, 2 * np.pi)
    slope = (np.cos(direction) * (x / width - 0.5) + np.sin(direction) * (y / height - 0.5)) * rng.uniform(0, 0.7)
    pixels *= (rng.uniform(0.55, 1.1) * (1 + slope))[..., None]
    if rng.random() < 0.4:
        gx, gy, r = rng.uniform(0.2, 0.8) * width, rng.uniform(0.2, 0.8) * height, rng.uniform(0.05, 0.16) * width
        spot = np.exp(-(((x - gx) / r) ** 2 + ((y - gy) / (r * rng.uniform(0.4, 1.5))) ** 2))
        pixels += (spot * rng.uniform(40, 170))[..., None]
    photo = Image.fromarray(np.uint8(np.clip(pixels, 0, 255)))
    photo = photo.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.5)))
    noise = rng.normal(0, rng.uniform(0, 11), (height, width, 1)) + rng.normal(0, 3, (height, width, 3))
    return Image.fromarray(np.uint8(np.clip(np.asarray(photo, np.float32) + noise, 0, 255)))


def find_fonts() -> list:
    """Scalable fonts that matplotlib or Debian brings; without any, PIL's own serves."""
    from pathlib import Path

    return sorted(str(f) for f in Path("/usr/share/fonts").rglob("*.ttf") if "Mono" not in f.name and ("DejaVu" in f.name or "Liberation" in f.name))


FONTS = find_fonts()


def photo(rng: np.random.Generator, value: float) -> Image.Image:
    """A photo-like picture of a gauge that shows `value` bar."""
    return photographed(rng, gauge(rng, value))
