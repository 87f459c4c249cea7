"""Draws photo-like pictures of pressure gauges, 0 to 10 bar, of many makes, in many lights.

Everything that a plant varies varies: case and face, scale and figures, needle, how it was hung, from where it was taken, wall,
light, glare, blur, noise. The scale runs clockwise over about 270 degrees, as on every Bourdon gauge (EN 837-1).
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

FULL_SCALE = 10.0
"""Bar."""
SIZE = 512
"""Side of the square in which a gauge is drawn."""
SHARP = 256
"""Side to which the drawing is reduced, so that its edges are smooth, before it is photographed."""
FONTS = tuple(f"/usr/share/fonts/truetype/dejavu/DejaVu{name}.ttf" for name in ("Sans", "Sans-Bold", "Serif", "Serif-Bold"))
"""Of Debian's fonts-dejavu-core."""


def tone(rng: np.random.Generator, low: int, high: int) -> tuple:
    """A grey that leans a little to some colour."""
    level = rng.uniform(low, high)
    return tuple(int(np.clip(level + rng.uniform(-10, 10), 0, 255)) for _ in range(3))


def point(angle: float, radius: float) -> tuple:
    """Degrees clockwise from the top and a share of half the side, in pixels."""
    turn = np.radians(angle)
    return SIZE / 2 + np.sin(turn) * radius * SIZE / 2, SIZE / 2 - np.cos(turn) * radius * SIZE / 2


def box(radius: float) -> tuple:
    """The square around a circle in the middle."""
    low, high = SIZE / 2 * (1 - radius), SIZE / 2 * (1 + radius)
    return low, low, high, high


def stroke(draw: ImageDraw.ImageDraw, angle: float, inner: float, outer: float, width: float, fill: tuple) -> None:
    """A line along a radius."""
    draw.line((point(angle, inner), point(angle, outer)), fill=fill, width=max(1, round(width * SIZE / 2)))


def needle(draw: ImageDraw.ImageDraw, angle: float, tip: float, tail: float, width: float, blunt: float, fill) -> None:
    """A pointer that narrows to `blunt` of its width at the tip, with a tail beyond the hub; lengths as shares of half the side."""
    along, across = np.array(point(angle, 1)) - SIZE / 2, np.array(point(angle + 90, 1)) - SIZE / 2
    outline = [(tip, blunt * width / 2), (0.0, width / 2), (-tail, width / 2), (-tail, -width / 2), (0.0, -width / 2), (tip, -blunt * width / 2)]
    draw.polygon([tuple(SIZE / 2 + far * along + side * across) for far, side in outline], fill=fill)


def gauge(rng: np.random.Generator, value: float) -> Image.Image:
    """A gauge that shows `value` bar, seen from straight ahead: RGBA, see-through around the case."""
    dark = rng.random() < 0.15
    face, ink = (tone(rng, 15, 55), tone(rng, 215, 250)) if dark else (tone(rng, 205, 252), tone(rng, 5, 60))
    picture = Image.new("RGB", (SIZE, SIZE), tone(rng, 20, 220))
    draw = ImageDraw.Draw(picture)
    rim = 0.96 - rng.uniform(0.06, 0.13)
    draw.ellipse(box(rim), fill=face)
    outer = rim - rng.uniform(0.03, 0.08)
    sweep = 270 + rng.uniform(-6, 6)
    scale(rng, draw, outer, sweep, ink)

    angle = (value / FULL_SCALE - 0.5) * sweep
    # Red is nearly black once it is grey; makers too take an orange that glows on a dark face.
    red = (250, 110, 40) if dark else (190, 25, 20)
    colour = red if rng.random() < 0.25 else tone(rng, 195, 250) if dark else tone(rng, 0, 50)
    shape = outer - rng.uniform(0.0, 0.14), rng.uniform(0.08, 0.3), rng.uniform(0.03, 0.07), rng.uniform(0.15, 0.8)
    shadow = Image.new("L", picture.size, 0)
    needle(ImageDraw.Draw(shadow), angle, *shape, int(rng.uniform(30, 130)))
    offset = tuple(int(o) for o in rng.integers(-10, 16, 2))
    picture.paste((0, 0, 0), offset, shadow.filter(ImageFilter.GaussianBlur(rng.uniform(3, 7))))
    needle(draw, angle, *shape, colour)
    hub = rng.uniform(0.05, 0.11)
    draw.ellipse(box(hub), fill=tone(rng, 20, 200))
    if rng.random() < 0.5:
        draw.ellipse(box(hub * 0.4), fill=tone(rng, 20, 200))
    return cased(rng, picture.resize((SHARP, SHARP), Image.Resampling.BOX), rim)


def scale(rng: np.random.Generator, draw: ImageDraw.ImageDraw, outer: float, sweep: float, ink: tuple) -> None:
    """Ticks, figures and words."""
    at = lambda share: (share - 0.5) * sweep  # noqa: E731
    if rng.random() < 0.3:
        draw.arc(box(outer), at(rng.uniform(0.6, 0.85)) - 90, at(1) - 90, fill=(200, 30, 30), width=int(rng.integers(8, 18)))
    if rng.random() < 0.2:
        draw.arc(box(outer), at(rng.uniform(0.1, 0.3)) - 90, at(rng.uniform(0.4, 0.6)) - 90, fill=(40, 150, 60), width=int(rng.integers(8, 18)))
    if rng.random() < 0.6:
        draw.arc(box(outer), at(0) - 90, at(1) - 90, fill=ink, width=3)
    parts, long, short = int(rng.choice([2, 5, 10])), rng.uniform(0.08, 0.14), rng.uniform(0.03, 0.06)
    for tick in range(10 * parts + 1):
        major = tick % parts == 0
        stroke(draw, at(tick / (10 * parts)), outer - (long if major else short), outer, 0.022 if major else 0.01, ink)
    face = str(rng.choice(FONTS))
    font, small = ImageFont.truetype(face, int(rng.integers(34, 54))), ImageFont.truetype(face, int(rng.integers(14, 24)))
    ring = outer - long - rng.uniform(0.11, 0.13)
    for figure in range(0, 11, int(rng.choice([1, 2]))):
        draw.text(point(at(figure / 10), ring), str(figure), fill=ink, font=font, anchor="mm")
    if rng.random() < 0.8:
        draw.text(point(180, rng.uniform(0.3, 0.5)), "bar", fill=ink, font=font, anchor="mm")
    if rng.random() < 0.5:
        draw.text(point(180, rng.uniform(0.55, 0.7)), str(rng.choice(["EN 837-1", "CL 1.6", "KL 2.5"])), fill=ink, font=small, anchor="mm")


ACROSS, DOWN = np.meshgrid(np.linspace(-1, 1, SHARP, dtype=np.float32), np.linspace(-1, 1, SHARP, dtype=np.float32))
RADIUS, ANGLE = np.hypot(ACROSS, DOWN), np.arctan2(DOWN, ACROSS)


def cased(rng: np.random.Generator, picture: Image.Image, rim: float) -> Image.Image:
    """The gauge in a turned metal or plastic ring, under glass, cut out."""
    pixels = np.asarray(picture, np.float32)
    gloss = rng.uniform(0, 0.5) * np.cos(2 * ANGLE + rng.uniform(0, 6.3)) + rng.uniform(0, 0.25) * np.cos(ANGLE + rng.uniform(0, 6.3))
    round_over = np.cos((RADIUS - rim) / (0.96 - rim) * np.pi - rng.uniform(0.8, 2.2)) * rng.uniform(0.1, 0.4)
    ring = np.clip((RADIUS - rim) * SHARP / 2, 0, 1)
    # The ring stands above the face and darkens its edge.
    depth = 1 - rng.uniform(0, 0.5) * np.exp(-np.maximum(rim - RADIUS, 0) / 0.05) * (0.5 + 0.5 * np.cos(ANGLE - rng.uniform(0, 6.3)))
    pixels = pixels * (ring * (1 + gloss + round_over) + (1 - ring) * depth)[..., None]
    if rng.random() < 0.35:
        lean = rng.uniform(0, 6.3)
        place = (ACROSS * np.cos(lean) + DOWN * np.sin(lean) - rng.uniform(-0.6, 0.6)) / rng.uniform(0.05, 0.3)
        pixels += (np.clip(1.5 - np.abs(place), 0, 1) * (RADIUS < rim) * rng.uniform(8, 60))[..., None]
    alpha = np.clip((0.96 - RADIUS) * SHARP / 2, 0, 1) * 255
    return Image.fromarray(np.uint8(np.clip(np.dstack([pixels, alpha]), 0, 255)), "RGBA")


def wall(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """What is behind: a blotched wall, sometimes with edges of other things, and the pipe that the gauge sits on."""
    blotches = rng.normal(0, rng.uniform(2, 14), (int(rng.integers(3, 9)), int(rng.integers(3, 9)), 1)) + rng.normal(0, 3, (1, 1, 3))
    rough = Image.fromarray(np.uint8(np.clip(blotches + np.array(tone(rng, 35, 215)), 0, 255)))
    picture = rough.resize((width, height), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.integers(0, 3)):
        x, y, shade = rng.uniform(-0.2, 1) * width, rng.uniform(-0.2, 1) * height, tone(rng, 20, 230)
        draw.rectangle((x, y, x + rng.uniform(0.1, 0.8) * width, y + rng.uniform(0.1, 0.8) * height), fill=shade)
    if rng.random() < 0.6:
        half, middle, shade = rng.uniform(0.04, 0.12) * width, width / 2 + rng.normal(0, 0.02) * width, np.array(tone(rng, 60, 210))
        for x in range(int(middle - half), int(middle + half)):
            light = 1 - 0.6 * ((x - middle) / half - 0.3) ** 2
            draw.line((x, height / 2, x, height), fill=tuple(int(c) for c in shade * light))
    return picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3)))


def photographed(rng: np.random.Generator, cutout: Image.Image) -> Image.Image:
    """The gauge on its wall as a camera on a mast, a phone or a cheap module sees it."""
    width, height = int(rng.integers(160, 321)), int(rng.integers(160, 261))
    side = min(width, height)
    scale = SHARP / (side * rng.uniform(0.78, 1.0))
    turn = np.clip(np.radians(rng.normal(0, 3.5)), -0.14, 0.14)
    tilt, lean = np.clip(rng.normal(0, 0.12, 2), -0.25, 0.25)
    cos, sin = np.cos(turn) * scale, np.sin(turn) * scale
    cx, cy = width / 2 + rng.normal(0, 0.03) * side, height / 2 + rng.normal(0, 0.03) * side
    # From a pixel of the photograph to the drawing: (a x + b y + c, d x + e y + f) / (g x + h y + 1), with the perspective
    # around the point (cx, cy), which shows the middle of the drawing.
    g, h = tilt / width, lean / height
    middle, depth = SHARP / 2, 1 + g * cx + h * cy
    a, b, d, e = cos * depth + middle * g, -sin * depth + middle * h, sin * depth + middle * g, cos * depth + middle * h
    c, f = middle * depth - a * cx - b * cy, middle * depth - d * cx - e * cy
    placed = cutout.transform((width, height), Image.Transform.PERSPECTIVE, (a, b, c, d, e, f, g, h), Image.Resampling.BICUBIC)
    ground = wall(rng, width, height)
    shade = placed.getchannel("A").filter(ImageFilter.GaussianBlur(side * 0.02)).point(lambda level: level * 0.55)
    ground.paste((0, 0, 0), tuple(int(o) for o in rng.integers(-2, 9, 2)), shade)
    ground.paste(placed, (0, 0), placed)
    return lit(rng, ground)


def lit(rng: np.random.Generator, photo: Image.Image) -> Image.Image:
    """Light from one side, glare on the glass, blur, noise."""
    width, height = photo.size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    pixels = np.asarray(photo, np.float32)
    direction = rng.uniform(0, 2 * np.pi)
    slope = (np.cos(direction) * (x / width - 0.5) + np.sin(direction) * (y / height - 0.5)) * rng.uniform(0, 0.7)
    pixels = pixels * (rng.uniform(0.55, 1.1) * (1 + slope))[..., None]
    if rng.random() < 0.3:
        gx, gy, r = rng.uniform(0.25, 0.75) * width, rng.uniform(0.25, 0.75) * height, rng.uniform(0.04, 0.12) * width
        spot = np.exp(-(((x - gx) / r) ** 2 + ((y - gy) / (r * rng.uniform(0.4, 1.5))) ** 2))
        pixels += (spot * rng.uniform(40, 170))[..., None]
    photo = Image.fromarray(np.uint8(np.clip(pixels, 0, 255)))
    pixels = np.asarray(photo.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.5))), np.float32)
    pixels = pixels + rng.uniform(0, 9) * rng.standard_normal((height, width, 1), np.float32)
    return Image.fromarray(np.uint8(np.clip(pixels + rng.uniform(0, 3) * rng.standard_normal((height, width, 3), np.float32), 0, 255)))


def photo(rng: np.random.Generator, value: float) -> Image.Image:
    """A photo-like picture of a gauge that shows `value` bar."""
    return photographed(rng, gauge(rng, value))
