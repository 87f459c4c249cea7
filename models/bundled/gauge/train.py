"""Trains `gauge`: a photo-like picture of a pressure gauge -> what it shows, in bar. Rewrites model.onnx, samples/ and manifest.toml.

Data: pictures drawn by dials.py, each of another make, in another light, from another side; held out: pictures of other seeds.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True  # nothing but the model's own files may lie in these folders
sys.path[:0] = [str(HERE.parent), str(HERE)]

import common
import dials
import numpy as np
import torch
from PIL import Image
from torch import nn

SEED = 20263
TRAINED, HELD_OUT, SAMPLES = 8000, 1000, 16
BINS = 41
IMAGE = {"width": 64, "height": 64, "colour": "grey", "fit": "crop", "mean": [0.5], "std": [0.25]}


class Network(nn.Module):
    """[batch, 1, 64, 64] -> [batch, 1] share of full scale: the mean of the scale's bins, weighted by how likely each is."""

    def __init__(self):
        super().__init__()
        widths = [1, 16, 32, 48, 64]
        layers = []
        for before, after in zip(widths, widths[1:]):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
            layers += [nn.Conv2d(after, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        self.seen = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.1), nn.Linear(64 * 4 * 4, 96), nn.ReLU(), nn.Linear(96, BINS))
        self.scale = nn.Linear(BINS, 1, bias=False)
        self.scale.weight.data = torch.linspace(0, 1, BINS)[None]
        self.scale.weight.requires_grad = False

    def forward(self, pictures):
        return self.scale(self.seen(pictures).softmax(1))


def varied(rows: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Each row turned, scaled and shifted a little, its light changed, with noise."""
    n = len(rows)
    turn, scale = rng.uniform(-0.05, 0.05, n), rng.uniform(0.94, 1.06, n)
    maps = np.zeros((n, 2, 3), np.float32)
    maps[:, 0, 0] = maps[:, 1, 1] = np.cos(turn) * scale
    maps[:, 0, 1], maps[:, 1, 0] = -np.sin(turn) * scale, np.sin(turn) * scale
    maps[:, :, 2] = rng.uniform(-0.05, 0.05, (n, 2))
    grid = nn.functional.affine_grid(torch.from_numpy(maps), rows.shape, align_corners=False)
    x = nn.functional.grid_sample(rows, grid, padding_mode="border", align_corners=False)
    light = torch.from_numpy(rng.uniform(0.75, 1.25, (n, 1, 1, 1)).astype(np.float32))
    shift = torch.from_numpy(rng.uniform(-0.3, 0.3, (n, 1, 1, 1)).astype(np.float32))
    return x * light + shift + torch.from_numpy(rng.normal(0, 0.08, x.shape).astype(np.float32))


def loss(network: Network):
    """The likelihood of the bins beside the truth, and the error of the value."""

    def of(likely: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        place = truth * (BINS - 1)
        near = torch.clamp(1 - (torch.arange(BINS)[None] - place).abs() / 1.5, min=0)
        near = near / near.sum(1, keepdim=True)
        value = network.scale(likely.softmax(1))
        return -(near * likely.log_softmax(1)).sum(1).mean() + 20 * (value - truth).abs().mean()

    return of


def drawn(rng: np.random.Generator, n: int) -> tuple:
    """Rows and values, as shares of full scale."""
    values = rng.uniform(0, 1, n)
    rows = [common.picture_row(dials.photo(rng, value * dials.FULL_SCALE), IMAGE) for value in values]
    return np.stack(rows), values.astype(np.float32)[:, None]


def main() -> None:
    rng = common.seed_everything(SEED)
    rows, values = drawn(rng, TRAINED)
    known, truth = torch.from_numpy(rows), torch.from_numpy(values)

    def draw():
        batch = rng.integers(0, TRAINED, 64)
        return varied(known[batch], rng), truth[batch]

    net = Network()
    common.fit(net.seen, draw, loss(net), steps=4000, rate=2e-3)
    net.eval()
    # The likelihoods and their mean stay f32: a step of int8 there is a step of the reading.
    common.export_int8(net, "picture", "share", rows[:512], HERE / "model.onnx", float_tail=3)

    run = common.Runner(HERE / "model.onnx")
    unseen, right = drawn(rng, HELD_OUT)
    errors = np.abs(run(unseen) - right)[:, 0]
    print(f"{common.parameters(net)} parameters; error of the int8 file: mean {errors.mean():.4f}, 95 % {np.quantile(errors, 0.95):.4f}, most {errors.max():.4f}")

    common.fresh_samples(HERE)
    truths = {}
    for i in range(SAMPLES):
        value = round(float(rng.uniform(0, dials.FULL_SCALE)), 2)
        name = f"samples/{i:02}.{'jpg' if i % 2 else 'png'}"
        photo = dials.photo(rng, value)
        if i % 2:
            photo.save(HERE / name, quality=85)
        else:
            photo.quantize(128, Image.Quantize.MEDIANCUT).convert("RGB").save(HERE / name, optimize=True)
        truths[name] = f"{value}"
    manifest = {
        "name": "gauge",
        "version": "1.0.0",
        "description": "A photo of a pressure gauge with a scale of 0 to 10 bar: what it shows.",
        "licence": "MIT OR Apache-2.0",
        "origin": "hearthd, models/bundled/gauge/train.py",
        "training_data": f"Pictures drawn by models/bundled/gauge/dials.py: {TRAINED:,} to train, {HELD_OUT:,} held out",
        "file": "model.onnx",
        "inputs": [{"name": "picture", "datatype": "FP32", "shape": [-1, 1, 64, 64]}],
        "outputs": [{"name": "share", "datatype": "FP32", "shape": [-1, 1]}],
        "batch": {"max": 32, "max_delay_ms": 5.0},
        "task": {"kind": "regress", "unit": "bar", "minimum": 0.0, "maximum": dials.FULL_SCALE, "scale": dials.FULL_SCALE, "offset": 0.0},
        "image": IMAGE,
        "accuracy": {"metric": "mean-error", "value": round(float(errors.mean()), 4), "promised": 0.02, "held_out": HELD_OUT},
    }
    common.write_manifest(HERE, manifest, truths)


if __name__ == "__main__":
    main()
