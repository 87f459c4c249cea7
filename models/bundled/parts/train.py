"""Trains `parts`: a picture of a conveyor belt from above -> where bolts, nuts and washers lie. Rewrites model.onnx, samples/ and manifest.toml.

Data: pictures drawn by belt.py; held out: further ones. The head gives what a YOLOv8 export gives: [batch, 4 + labels, anchors] of centre,
width and height in pixels of the input, then a score for each label. The distances to the four sides are regressed as they are, without
YOLOv8's distribution layer.
"""

import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True  # nothing but the model's own files may lie in these folders
sys.path[:0] = [str(HERE.parent), str(HERE)]

import belt
import boxes
import common
import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

SEED = 20264
TRAINED, HELD_OUT, SAMPLES = 2000, 500, 16
SIDE, STRIDES = 160, (8, 16)
PLACES = [(SIDE // stride) ** 2 for stride in STRIDES]
CLASSES = len(belt.LABELS)
IMAGE = {"width": SIDE, "height": SIDE, "colour": "rgb", "fit": "letterbox"}
TASK = {"kind": "detect", "head": "yolov8", "labels": list(belt.LABELS), "confidence": 0.5, "iou": 0.45}
FLOAT_TAIL = 20
"""Every operator behind the last convolutions: one scale for pixels and scores would leave neither fine."""


def conv(before: int, after: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(after), nn.ReLU())


class Network(nn.Module):
    """[batch, 3, 160, 160] -> raw maps of both strides, 4 distances in strides and a logit for each label: [batch, 4 + labels, anchors]."""

    def __init__(self):
        super().__init__()
        self.fine = nn.Sequential(conv(3, 16, 3, 2), conv(16, 24, 3, 2), conv(24, 24), conv(24, 48, 3, 2), conv(48, 48))
        self.coarse = nn.Sequential(conv(48, 80, 3, 2), conv(80, 80))
        self.lateral, self.joined = conv(80, 48, 1), conv(96, 48, 1)
        self.heads = nn.ModuleList([conv(48, 48), nn.Sequential(conv(80, 48, 1), conv(48, 48))])
        self.sides = nn.ModuleList(nn.Conv2d(48, 4, 1) for _ in STRIDES)
        self.scores = nn.ModuleList(nn.Conv2d(48, CLASSES, 1) for _ in STRIDES)
        for sides, scores in zip(self.sides, self.scores):
            nn.init.constant_(sides.bias, 1.5)
            nn.init.constant_(scores.bias, -4.0)

    def maps(self, pictures):
        fine = self.fine(pictures)
        coarse = self.coarse(fine)
        up = F.interpolate(self.lateral(coarse), scale_factor=2, mode="nearest")
        levels = [head(x) for head, x in zip(self.heads, (self.joined(torch.cat((fine, up), 1)), coarse))]
        raw = [part(x) for parts in (self.sides, self.scores) for part, x in zip(parts, levels)]
        # Sizes as numbers, so that the export holds no arithmetic on shapes.
        flat = [map.reshape(-1, width, places) for map, (width, places) in zip(raw, ((w, p) for w in (4, CLASSES) for p in PLACES))]
        return torch.cat(flat[:2], 2), torch.cat(flat[2:], 2)

    def forward(self, pictures):
        return torch.cat(self.maps(pictures), 1)


def anchors() -> tuple[torch.Tensor, torch.Tensor]:
    """Centres [2, anchors] in pixels and strides [anchors] of every place of both maps."""
    centres, strides = [], []
    for stride in STRIDES:
        middle = (torch.arange(SIDE // stride) + 0.5) * stride
        y, x = torch.meshgrid(middle, middle, indexing="ij")
        centres.append(torch.stack((x, y)).reshape(2, -1))
        strides.append(torch.full((middle.numel() ** 2,), float(stride)))
    return torch.cat(centres, 1), torch.cat(strides)


CENTRES, STRIDE_OF = anchors()


class Decoded(nn.Module):
    """The network with its box decoding: [batch, 4 + labels, anchors] as YOLOv8 exports it."""

    def __init__(self, network: Network):
        super().__init__()
        self.network = network
        self.register_buffer("centres", CENTRES[None])
        self.register_buffer("strides", STRIDE_OF[None, None])

    def forward(self, pictures):
        sides, scores = self.network.maps(pictures)
        low, high = (sides * self.strides).split(2, 1)
        return torch.cat((self.centres + (high - low) / 2, high + low, scores.sigmoid()), 1)


def targets(truths: list) -> tuple[torch.Tensor, torch.Tensor]:
    """For each anchor of each picture the box [4, anchors] it answers for, and its class (-1: none).

    Small parts are the fine map's, large ones the coarse map's, those between are both's; an anchor answers for the nearest part whose
    middle is within one and a half strides of it.
    """
    box, label = torch.zeros(len(truths), 4, len(STRIDE_OF)), torch.full((len(truths), len(STRIDE_OF)), -1)
    for i, truth in enumerate(truths):
        nearest = torch.full((len(STRIDE_OF),), torch.inf)
        for class_, corners in truth:
            corners = torch.tensor(corners)
            size = (corners[2:] - corners[:2]).max()
            off = (CENTRES - ((corners[:2] + corners[2:]) / 2)[:, None]).abs().amax(0) / STRIDE_OF
            inside = ((CENTRES > corners[:2, None]) & (CENTRES < corners[2:, None])).all(0)
            level = (STRIDE_OF == 8) & (size < 40) | (STRIDE_OF == 16) & (size > 28)
            mine = level & inside & (off < 1.5) & (off * STRIDE_OF < nearest)
            nearest[mine] = (off * STRIDE_OF)[mine]
            box[i][:, mine], label[i][mine] = corners[:, None], class_
    return box, label


def overlap(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """IoU and generalised IoU (Rezatofighi et al. 2019) of corners [n, 4]."""
    shared = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(1)
    around = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).clamp(min=1e-6).prod(1)
    joined = (a[:, 2:] - a[:, :2]).clamp(min=0).prod(1) + (b[:, 2:] - b[:, :2]).prod(1) - shared
    iou = shared / joined.clamp(min=1e-6)
    return iou, iou - (around - joined) / around


def loss(outputs: torch.Tensor, truth: tuple) -> torch.Tensor:
    """Generalised IoU of the boxes; quality focal loss (Li et al. 2020) of the scores, whose target is the box's IoU."""
    box, label = truth
    sides, scores = outputs[:, :4] * STRIDE_OF, outputs[:, 4:]
    at, place = torch.nonzero(label >= 0, as_tuple=True)
    middle = CENTRES.T[place]
    said = torch.cat((middle - sides[at, :2, place], middle + sides[at, 2:, place]), 1)
    iou, generalised = overlap(said, box[at, :, place])
    wanted = torch.zeros_like(scores)
    wanted[at, label[at, place], place] = iou.detach().clamp(min=0.1)
    focal = F.binary_cross_entropy_with_logits(scores, wanted, reduction="none") * (scores.sigmoid() - wanted).abs().square()
    return (2 * (1 - generalised).sum() + 2 * focal.sum()) / max(1, len(at))


def letterboxed(picture: Image.Image, truth: list) -> tuple[np.ndarray, list]:
    """A row of bytes [3, 160, 160], and the truth as (class, corners) in its pixels."""
    scale, left, top, *_ = common.letterbox(picture.size, SIDE, SIDE)
    row = np.asarray(common.letterboxed(picture, SIDE, SIDE)).transpose(2, 0, 1)
    move = np.array([left, top, left, top], np.float32)
    return row, [(belt.LABELS.index(label), np.array(box, np.float32) * np.float32(scale) + move) for label, box in truth]


def varied(row: np.ndarray, truth: list, rng: np.random.Generator) -> tuple[np.ndarray, list]:
    """Turned by quarters, mirrored, in another light, its colours otherwise."""
    turns, mirrored = int(rng.integers(4)), rng.random() < 0.5
    row = np.rot90(row, turns, (1, 2))
    truth = [(class_, corners.copy()) for class_, corners in truth]
    for _, c in truth:
        for _ in range(turns):  # anticlockwise: x' = y, y' = side - x
            c[:] = c[1], SIDE - c[2], c[3], SIDE - c[0]
        if mirrored:
            c[:] = SIDE - c[2], c[1], SIDE - c[0], c[3]
    row = row[:, :, ::-1] if mirrored else row
    values = row.astype(np.float32) / 255
    values = values[rng.permutation(3)] * rng.uniform(0.75, 1.25) + np.float32(rng.uniform(-0.06, 0.06))
    return np.ascontiguousarray(values.clip(0, 1), np.float32), truth


def main() -> None:
    rng = common.seed_everything(SEED)
    begin = time.monotonic()
    known = [letterboxed(*belt.scene(rng)) for _ in range(TRAINED)]
    print(f"{TRAINED} pictures drawn in {time.monotonic() - begin:.0f} s", flush=True)

    def draw():
        batch = [varied(*known[i], rng) for i in rng.integers(0, TRAINED, 16)]
        return torch.from_numpy(np.stack([row for row, _ in batch])), targets([truth for _, truth in batch])

    net = Network()
    common.fit(net, draw, loss, steps=3400, rate=3e-3, decay=1e-3)
    print(f"{common.parameters(net)} parameters, trained after {time.monotonic() - begin:.0f} s", flush=True)
    calibration = np.stack([row for row, _ in known[:192]]).astype(np.float32) / 255
    common.export_int8(Decoded(net).eval(), "images", "output0", calibration, HERE / "model.onnx", float_tail=FLOAT_TAIL)

    run = common.Runner(HERE / "model.onnx")
    scenes = [belt.scene(rng) for _ in range(HELD_OUT)]
    rows = np.stack([common.picture_row(picture, IMAGE) for picture, _ in scenes])
    found = [boxes.detected(output, picture.size, TASK, IMAGE, confidence=0.001) for output, (picture, _) in zip(run(rows), scenes)]
    truths = [truth for _, truth in scenes]
    precision = {label: boxes.average_precision(found, truths, label) for label in belt.LABELS}
    sure = [[box for box in picture if box[1] >= TASK["confidence"]] for picture in found]
    whole = sum(boxes.all_right(*pair) for pair in zip(sure, truths))
    score = float(np.mean(list(precision.values())))
    print(f"int8 file, {HELD_OUT} pictures: mAP50 {score:.4f} {precision}; every part found, and nothing else, in {whole}")

    common.fresh_samples(HERE)
    said = {}
    for i in range(SAMPLES):
        picture, truth = belt.scene(rng)
        name = f"samples/{i:02}.{'png' if i % 4 == 0 else 'jpg'}"
        if i % 4:
            picture.save(HERE / name, quality=88)
        else:
            picture.quantize(64, Image.Quantize.MEDIANCUT).convert("RGB").save(HERE / name, optimize=True)
        said[name] = boxes.written(truth)
    manifest = {
        "name": "parts",
        "version": "1.0.0",
        "description": "A picture of a conveyor belt from above: where bolts, nuts and washers lie.",
        "licence": "MIT OR Apache-2.0",
        "origin": "hearthd, models/bundled/parts/train.py",
        "training_data": f"Pictures drawn by models/bundled/parts/belt.py: {TRAINED:,} to train, {HELD_OUT:,} held out",
        "file": "model.onnx",
        "inputs": [{"name": "images", "datatype": "FP32", "shape": [-1, 3, SIDE, SIDE]}],
        "outputs": [{"name": "output0", "datatype": "FP32", "shape": [-1, 4 + CLASSES, len(STRIDE_OF)]}],
        "batch": {"max": 16, "max_delay_ms": 5.0},
        "task": TASK,
        "image": IMAGE,
        "accuracy": {"metric": "map", "value": round(score, 4), "promised": 0.9, "held_out": HELD_OUT},
    }
    common.write_manifest(HERE, manifest, said)


if __name__ == "__main__":
    main()
