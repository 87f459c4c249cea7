"""Boxes in plain numpy: what a YOLOv8 output means in the picture's pixels, suppression, and how right that is. Knows no network.

Written apart from the daemon's own decoding, so that each can be held against the other.
"""

import common
import numpy as np


def detected(output: np.ndarray, size: tuple[int, int], task: dict, image: dict, confidence: float | None = None) -> list[tuple]:
    """(label, score, (left, top, right, bottom) in pixels of the picture of this size), the surest first; `output` [4 + labels, anchors]."""
    confidence = task["confidence"] if confidence is None else confidence
    classes, scores = output[4:].argmax(0), output[4:].max(0)
    order = [int(i) for i in np.argsort(-scores, kind="stable") if scores[i] >= confidence]
    corners = np.concatenate((output[:2] - output[2:4] / 2, output[:2] + output[2:4] / 2)).T.astype(np.float64)
    kept = []
    for i in order:
        if all(classes[i] != classes[k] or iou(corners[i], corners[k]) <= task["iou"] for k in kept):
            kept.append(i)
    scale, left, top, *_ = common.letterbox(size, image["width"], image["height"])
    limits = np.array([*size, *size], np.float64)
    placed = [(corners[i] - [left, top, left, top]) / scale for i in kept[: task.get("max", 100)]]
    return [(task["labels"][classes[i]], float(scores[i]), tuple(np.clip(box, 0, limits))) for i, box in zip(kept, placed)]


def iou(a, b) -> float:
    """Intersection over union of two boxes by their corners."""
    across, down = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(across, 0.0) * max(down, 0.0)
    joined = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / joined if joined > 0 else 0.0


def average_precision(found: list, truths: list, label: str, overlap: float = 0.5) -> float:
    """Area under the precision-recall curve, made monotonic, of one label over all pictures (PASCAL VOC 2010)."""
    said = sorted(((score, i, box) for i, picture in enumerate(found) for name, score, box in picture if name == label), key=lambda s: -s[0])
    open_ = [[box for name, box in truth if name == label] for truth in truths]
    total = sum(map(len, open_))
    right = []
    for _, i, box in said:
        best = max(open_[i], key=lambda truth: iou(box, truth), default=None)
        right.append(best is not None and iou(box, best) >= overlap)
        if right[-1]:
            open_[i].remove(best)
    hits = np.cumsum(right)
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return float(precision[np.array(right, bool)].sum() / total)


def all_right(found: list, truth: list, overlap: float = 0.5) -> bool:
    """Whether every part was found once, by its label, and nothing else was."""
    open_ = list(truth)
    for label, _, box in found:
        best = max((t for t in open_ if t[0] == label), key=lambda t: iou(box, t[1]), default=None)
        if best is None or iou(box, best[1]) < overlap:
            return False
        open_.remove(best)
    return not open_


def written(truth: list) -> str:
    """A truth as manifests have it: `label x y width height`, one after the other, with semicolons between."""
    return "; ".join(f"{label} {left:g} {top:g} {right - left:g} {bottom - top:g}" for label, (left, top, right, bottom) in truth)


def read(text: str) -> list:
    """A truth from a manifest: (label, corners) of each box."""
    entries = [entry.rsplit(maxsplit=4) for entry in text.split(";") if entry.strip()]
    places = [(label.strip(), *map(float, place)) for label, *place in entries]
    return [(label, (x, y, x + width, y + height)) for label, x, y, width, height in places]
