"""Draws pictures of loose parts on a conveyor belt, from above: bolts, nuts and washers, each with the box around it.

Everything that a line varies varies: belt, finish of the parts, how many lie how, light and its shadows, dirt, blur, noise, the
camera's picture size. Parts may touch; none lies on top of another.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

LABELS = ("bolt", "nut", "washer")
FINER = 2
"""Pictures are drawn this much larger and reduced, so that edges are smooth."""
FINISHES = ((176, 180, 184), (150, 152, 156), (198, 178, 120), (182, 148, 72), (84, 86, 92), (206, 206, 200))
"""Steel, worn steel, zinc (yellow), brass, black oxide, nickel."""
SHAPES = ((320, 240), (240, 320), (320, 180), (256, 256), (301, 223), (288, 216))
"""Sizes of pictures, in pixels."""


def scene(rng: np.random.Generator, most: int = 7) -> tuple[Image.Image, list[tuple[str, tuple[float, ...]]]]:
    """A picture and what lies in it: (label, (left, top, right, bottom) in pixels), up to `most` parts; now and then none."""
    width, height = SHAPES[rng.integers(len(SHAPES))]
    ground = belt(rng, width * FINER, height * FINER)
    light = np.radians(rng.uniform(0, 360))
    parts, boxes = [], []
    for _ in range(0 if rng.random() < 0.04 else int(rng.integers(1, most + 1))):
        for _ in range(12):
            label, part = drawn(rng, min(width, height) * FINER)
            left, top = (int(rng.integers(-own // 8, max(1, side - own * 7 // 8))) for side, own in zip(ground.size, part.size))
            box = (left, top, left + part.width, top + part.height)
            if all(apart(box, other) for other in boxes):
                parts.append((label, part, (left, top)))
                boxes.append(box)
                break
    shadow(rng, ground, parts, light)
    for _, part, place in parts:
        ground.paste(part, place, part)
    picture = ground.resize((width, height), Image.Resampling.BOX)
    inside = [tuple(float(np.clip(edge / FINER, 0, side)) for edge, side in zip(box, (width, height) * 2)) for box in boxes]
    return photographed(rng, picture, light), [(label, box) for (label, *_), box in zip(parts, inside)]


def apart(a: tuple, b: tuple) -> bool:
    """Whether two boxes share at most a tenth of the smaller."""
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    area = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return across <= 0 or down <= 0 or across * down <= 0.1 * area


def belt(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Rubber or fabric with its weave, seams, scratches, and crumbs that are no parts."""
    base = np.array([(52, 54, 56), (38, 70, 52), (96, 100, 96), (40, 52, 84), (150, 146, 134)][rng.integers(5)], np.float32)
    base = base * rng.uniform(0.75, 1.2)
    coarse = Image.fromarray(rng.normal(128, 40, (height // 24, width // 24)).clip(0, 255).astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    grain = rng.standard_normal((height, width), np.float32) * rng.uniform(2, 9) + (np.asarray(coarse, np.float32) - 128) * rng.uniform(0.05, 0.3)
    if rng.random() < 0.5:
        period, tilt = rng.uniform(6, 22), rng.uniform(-1, 1)
        y, x = np.ogrid[:height, :width]
        grain = grain + np.sin((y + tilt * x) * 2 * np.pi / period) * rng.uniform(1, 9)
    picture = Image.fromarray((base + grain[..., None]).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.poisson(1.2)):  # seams, scratches, marks
        ends = [(int(rng.uniform(0, width)), int(rng.uniform(0, height))) for _ in range(2)]
        draw.line(ends, fill=tone(rng, base, 45), width=int(rng.integers(1, 7)))
    for _ in range(rng.poisson(3)):  # swarf and crumbs
        x, y, size = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(3, 14)
        if rng.random() < 0.5:
            draw.arc((x, y, x + 2 * size, y + 2 * size), rng.uniform(0, 360), rng.uniform(0, 360), fill=tone(rng, base, 90), width=int(rng.integers(1, 4)))
        else:
            draw.polygon([(x + rng.normal(0, size / 2), y + rng.normal(0, size / 2)) for _ in range(4)], fill=tone(rng, base, 60))
    return picture


def tone(rng: np.random.Generator, base, spread: float) -> tuple:
    """A colour near another, as light or dark as the spread allows."""
    level = rng.uniform(-spread, spread)
    return tuple(int(np.clip(channel + level + rng.uniform(-6, 6), 0, 255)) for channel in base)


def drawn(rng: np.random.Generator, side: int) -> tuple[str, Image.Image]:
    """A part of some kind, size, finish and turn, see-through around it."""
    label = LABELS[rng.integers(len(LABELS))]
    finish = tone(rng, FINISHES[rng.integers(len(FINISHES))], 22)
    size = side * rng.uniform(0.21, 0.37)
    part = {"bolt": bolt, "nut": nut, "washer": washer}[label](rng, size, finish)
    part = part.rotate(rng.uniform(0, 360), Image.Resampling.BICUBIC, expand=True)
    # Edges that are nearly see-through are no part of a part.
    part.putalpha(part.getchannel("A").point(lambda alpha: 0 if alpha < 96 else alpha))
    return label, part.crop(part.getchannel("A").getbbox())


def shade(colour: tuple, factor: float) -> tuple:
    return tuple(int(np.clip(channel * factor, 0, 255)) for channel in colour)


def bolt(rng: np.random.Generator, size: float, finish: tuple) -> Image.Image:
    """A hexagon bolt on its side: head, shank, thread."""
    length = size * rng.uniform(1.1, 1.8)
    head, thick, shank = size * rng.uniform(0.5, 0.66), size * rng.uniform(0.2, 0.32), size * rng.uniform(0.24, 0.34)
    part = Image.new("RGBA", (int(length) + 4, int(head) + 4))
    draw = ImageDraw.Draw(part)
    middle = part.height / 2
    for i in range(int(shank)):  # round: bright in the middle
        across = (i + 0.5) / shank * 2 - 1
        y = middle - shank / 2 + i
        draw.line((2 + thick, y, 2 + length - 1, y), fill=shade(finish, 0.55 + 0.6 * np.sqrt(1 - across**2)) + (255,), width=2)
    begin, pitch = 2 + thick + (length - thick) * rng.uniform(0.0, 0.5), max(3.0, size * rng.uniform(0.045, 0.07))
    for x in np.arange(begin, 2 + length - 1, pitch):
        draw.line((x, middle - shank / 2, x + pitch * 0.5, middle + shank / 2), fill=shade(finish, 0.45) + (255,), width=max(1, int(pitch * 0.4)))
    for i, (share, factor) in enumerate(((0.25, 0.72), (0.5, 1.1), (0.25, 0.8))):  # three faces of the hexagon show
        top = middle - head / 2 + head * (0, 0.25, 0.75)[i]
        draw.rectangle((2, top, 2 + thick, top + head * share), fill=shade(finish, factor) + (255,))
    return part


def nut(rng: np.random.Generator, size: float, finish: tuple) -> Image.Image:
    """A hexagon nut from above: flat ring, dark thread, the belt through its hole."""
    radius = size * rng.uniform(0.4, 0.52)
    hole = radius * rng.uniform(0.46, 0.58)
    return ring(rng, radius, hole, finish, sides=6, inner=1.12)


def washer(rng: np.random.Generator, size: float, finish: tuple) -> Image.Image:
    """A flat ring; the belt through its hole."""
    radius = size * rng.uniform(0.38, 0.56)
    hole = radius * rng.uniform(0.4, 0.62)
    return ring(rng, radius, hole, finish, sides=0, inner=1.04)


def ring(rng: np.random.Generator, radius: float, hole: float, finish: tuple, sides: int, inner: float) -> Image.Image:
    """A ring with a bevel outside and an edge inside; `sides` 0 is round."""
    middle = radius + 3
    part = Image.new("RGBA", (int(2 * middle), int(2 * middle)))
    draw = ImageDraw.Draw(part)

    def outline(r: float, fill: tuple, sides: int = 0) -> None:
        if sides:
            draw.polygon([(middle + r * np.sin(2 * np.pi * i / sides), middle - r * np.cos(2 * np.pi * i / sides)) for i in range(sides)], fill=fill)
        else:
            draw.ellipse((middle - r, middle - r, middle + r, middle + r), fill=fill)

    outline(radius, shade(finish, rng.uniform(0.6, 0.85)) + (255,), sides)
    turns = 2 * np.pi * np.arange(sides + 1) / max(1, sides)
    for one, other in zip(turns, turns[1:]):  # each flank in a light of its own
        corners = [(middle + radius * np.sin(turn), middle - radius * np.cos(turn)) for turn in (one, other)]
        draw.polygon([(middle, middle), *corners], fill=shade(finish, rng.uniform(0.45, 1.0)) + (255,))
    outline(radius * (0.84 if sides else rng.uniform(0.9, 0.97)), shade(finish, rng.uniform(0.95, 1.12)) + (255,))
    outline(hole * inner, shade(finish, rng.uniform(0.35, 0.6)) + (255,))
    outline(hole, (0, 0, 0, 0))
    return part


def shadow(rng: np.random.Generator, ground: Image.Image, parts: list, light: float) -> None:
    """Dark beside each part, away from the light."""
    far, dark = rng.uniform(2, 9), int(rng.uniform(60, 170))
    mask = Image.new("L", ground.size)
    for _, part, (left, top) in parts:
        mask.paste(dark, (left + int(far * np.cos(light)), top + int(far * np.sin(light))), part.getchannel("A"))
    ground.paste((0, 0, 0), (0, 0), mask.filter(ImageFilter.GaussianBlur(rng.uniform(1.5, 6))))


def photographed(rng: np.random.Generator, picture: Image.Image, light: float) -> Image.Image:
    """Light that falls off, a colour of its own, blur and noise."""
    width, height = picture.size
    y, x = np.ogrid[:height, :width]
    across = (x / width - 0.5) * np.cos(light) + (y / height - 0.5) * np.sin(light)
    level = rng.uniform(0.75, 1.2) * (1 - across * rng.uniform(0, 0.7))
    cast = rng.uniform(0.93, 1.07, 3).astype(np.float32)
    blurred = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.8)))
    pixels = np.asarray(blurred, np.float32) * level[..., None].astype(np.float32) * cast + rng.standard_normal((height, width, 1), np.float32) * rng.uniform(0, 4)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
