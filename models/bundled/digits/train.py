"""Trains `digits`: a handwritten digit in a picture -> its label. Rewrites model.onnx, samples/ and manifest.toml beside it.

Data: the 1,797 digits of 8 x 8 grey levels (0 to 16) that scikit-learn ships (UCI "Optical Recognition of Handwritten Digits").
They reach the network as a user's picture would: dark ink on white, 96 x 96 pixels, through the manifest's preprocessing.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True  # nothing but the model's own files may lie in these folders
sys.path.insert(0, str(HERE.parent))

import common
import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

SEED = 20261
HELD_OUT = 500
SAMPLES_A_DIGIT = 2
IMAGE = {"width": 8, "height": 8, "colour": "grey", "mean": [0.3], "std": [0.35], "invert": True}


def picture(levels: np.ndarray) -> Image.Image:
    """8 x 8 ink levels of 0 to 16 as dark ink on white."""
    paper = Image.fromarray(np.uint8(np.round(255 - levels * (255 / 16))), "L")
    return paper.resize((96, 96), Image.Resampling.BICUBIC)


def network() -> nn.Module:
    """[batch, 1, 8, 8] -> [batch, 10] logits."""
    return nn.Sequential(
        nn.Conv2d(1, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
        nn.Conv2d(24, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 48, 3, padding=1), nn.BatchNorm2d(48), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.3), nn.Linear(48 * 2 * 2, 10),
    )  # fmt: skip


def varied(rows: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
    """Each row turned, sheared, scaled and shifted a little, its contrast changed, with noise."""
    n = len(rows)
    turn, shear = rng.uniform(-0.2, 0.2, n), rng.uniform(-0.2, 0.2, n)
    wide, high = rng.uniform(0.88, 1.12, n), rng.uniform(0.88, 1.12, n)
    shift = rng.uniform(-0.12, 0.12, (n, 2))
    maps = np.empty((n, 2, 3), np.float32)
    maps[:, 0] = np.stack([np.cos(turn) * wide, -np.sin(turn) + shear, shift[:, 0]], 1)
    maps[:, 1] = np.stack([np.sin(turn), np.cos(turn) * high, shift[:, 1]], 1)
    blank = -IMAGE["mean"][0] / IMAGE["std"][0]
    x = torch.from_numpy(rows) - blank
    x = nn.functional.grid_sample(x, nn.functional.affine_grid(torch.from_numpy(maps), x.shape, align_corners=False), align_corners=False)
    x = x * torch.from_numpy(rng.uniform(0.8, 1.1, (n, 1, 1, 1)).astype(np.float32)) + blank
    return x + torch.from_numpy(rng.normal(0, 0.08, x.shape).astype(np.float32))


def main() -> None:
    rng = common.seed_everything(SEED)
    levels, labels = load_digits(return_X_y=True)
    pictures = [picture(row.reshape(8, 8)) for row in levels]
    rows = np.stack([common.picture_row(p, IMAGE) for p in pictures])
    order = rng.permutation(len(rows))
    held_out, trained = order[:HELD_OUT], order[HELD_OUT:]

    def draw():
        batch = rng.choice(trained, 64)
        return varied(rows[batch], rng), torch.from_numpy(labels[batch])

    net = network()
    common.fit(net, draw, nn.CrossEntropyLoss(label_smoothing=0.05), steps=2400, rate=4e-3)
    common.export_int8(net, "image", "logits", rows[trained], HERE / "model.onnx")

    right = common.Runner(HERE / "model.onnx")(rows[held_out]).argmax(1) == labels[held_out]
    print(f"{common.parameters(net)} parameters; top-1 of the int8 file {right.mean():.4f} on {HELD_OUT}")

    samples = common.fresh_samples(HERE)
    truths = {}
    for digit in range(10):
        for i, index in enumerate(held_out[labels[held_out] == digit][:SAMPLES_A_DIGIT]):
            name = f"samples/{digit}-{i}.png"
            pictures[index].save(HERE / name, optimize=True)
            truths[name] = str(digit)
    manifest = {
        "name": "digits",
        "version": "1.0.0",
        "description": "Handwritten digit in a picture: which of 0 to 9 it is.",
        "licence": "MIT OR Apache-2.0",
        "origin": "hearthd, models/bundled/digits/train.py",
        "training_data": "Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak; UCI Machine Learning Repository, CC BY 4.0), "
        "the 1,797 digits inside scikit-learn: 1,297 to train, 500 held out",
        "file": "model.onnx",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 1, 8, 8]}],
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}],
        "batch": {"max": 32, "max_delay_ms": 5.0},
        "task": {"kind": "classify", "labels": [str(d) for d in range(10)], "softmax": True, "top": 3},
        "image": IMAGE,
        "accuracy": {"metric": "top-1", "value": round(float(right.mean()), 4), "promised": 0.97, "held_out": HELD_OUT},
    }
    common.write_manifest(HERE, manifest, truths)


if __name__ == "__main__":
    main()
