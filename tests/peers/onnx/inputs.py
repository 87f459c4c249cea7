"""Seeded inputs of each model, and the labels behind them. Knows shapes and statistics; no network and no engine.

Pictures and signals come in families: one random smooth pattern a family, moved and mixed with noise for each sample. So that
a linear head fitted to families has margins, as a trained classifier's logits have them.
"""

import numpy as np

FAMILIES = 40
PICTURE = 224
DETECTOR = 320
SIGNAL = 1024
VOCABULARY = 30522


def smooth(coarse: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear enlargement of [channels, h, w] to [channels, height, width]."""

    def grid(size, to):
        at = np.linspace(0, size - 1, to)
        low = np.minimum(at.astype(int), size - 2)
        return low, (at - low).astype(np.float32)

    y, fy = grid(coarse.shape[1], height)
    x, fx = grid(coarse.shape[2], width)
    rows = coarse[:, y] * (1 - fy)[:, None] + coarse[:, y + 1] * fy[:, None]
    return rows[:, :, x] * (1 - fx) + rows[:, :, x + 1] * fx


def pictures(count: int, seed: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """[count, 3, size, size] f32 of about mean 0 and deviation 1, and the family of each."""
    rng = np.random.default_rng([seed, size])
    labels = rng.integers(0, FAMILIES, count)
    rows = []
    for label in labels:
        family = np.random.default_rng([1, label]).normal(size=(3, 9, 9)).astype(np.float32)
        shift = rng.integers(-size // 12, size // 12 + 1, 2)
        picture = 1.4 * np.roll(smooth(family, size, size), shift, (1, 2))
        picture = picture + 0.4 * smooth(rng.normal(size=(3, 5, 5)).astype(np.float32), size, size)
        rows.append(picture + 0.2 * rng.normal(size=picture.shape))
    return np.stack(rows).astype(np.float32), labels


def signals(count: int, seed: int, channels: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """[count, channels, length] f32: sums of a family's tones and envelopes with noise, and the family of each."""
    rng = np.random.default_rng([seed, channels, length])
    labels = rng.integers(0, FAMILIES, count)
    time = np.arange(length, dtype=np.float32) / length
    rows = []
    for label in labels:
        family = np.random.default_rng([2, label])
        tones = family.uniform(1, 40, (channels, 4, 1))
        weights = family.normal(size=(channels, 4, 1))
        phase = rng.uniform(0, 0.3, (1, 4, 1)) + family.uniform(0, 1, (channels, 4, 1))
        row = (weights * np.sin(2 * np.pi * (tones * time + phase))).sum(1)
        rows.append(0.7 * row + 0.2 * rng.normal(size=row.shape))
    return np.stack(rows).astype(np.float32), labels


def spectra(count: int, seed: int, bins: int) -> np.ndarray:
    """[count, bins] f32: smooth positive and negative spectra, five frames a row, as a machine's sound gives them."""
    rng = np.random.default_rng([seed, bins])
    frames = [smooth(rng.normal(size=(1, 2, 5)).astype(np.float32), 5, bins // 5)[0] for _ in range(count)]
    return (np.stack(frames).reshape(count, bins) + 0.15 * rng.normal(size=(count, bins))).astype(np.float32)


def sentences(count: int, seed: int, length: int) -> dict[str, np.ndarray]:
    """Token ids [count, length] with the last tokens of most rows masked out; row 0 is full."""
    rng = np.random.default_rng([seed, length])
    ids = rng.integers(1000, VOCABULARY, (count, length))
    kept = rng.integers(length // 4, length + 1, count)
    kept[0] = length
    mask = np.arange(length) < kept[:, None]
    ids[:, 0] = 101
    return {"input_ids": np.where(mask, ids, 0).astype(np.int64), "attention_mask": mask.astype(np.int64)}


def draw(model: str, count: int, seed: int) -> dict[str, np.ndarray]:
    """`count` inputs of `model`, stacked along the first axis, by input name."""
    return draw_labelled(model, count, seed)[0]


def draw_labelled(model: str, count: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    """As `draw`, with each row's family where the model is a classifier."""
    if model in ("mobilenet_v2", "resnet18"):
        rows, labels = pictures(count, seed, PICTURE)
        return {"input": rows}, labels
    if model == "detector":
        return {"images": pictures(count, seed, DETECTOR)[0]}, None
    if model == "cnn1d":
        rows, labels = signals(count, seed, 1, SIGNAL)
        return {"signal": rows}, labels
    if model in ("gru", "lstm"):
        rows, labels = signals(count, seed, 40, 50)
        return {"features": np.ascontiguousarray(rows.transpose(0, 2, 1))}, labels
    if model == "autoencoder":
        return {"spectrum": spectra(count, seed, 640)}, None
    if model in ("encoder", "encoder_opset13"):
        return sentences(count, seed, 64), None
    raise ValueError(f"no model {model}")
