"""Whether answers agree: cosine, first place among sure inputs, matched boxes. Numbers in, a verdict out; runs nothing."""

from dataclasses import dataclass, field

import numpy as np

COSINE = 0.999
AGREEMENT = 0.97
OVERLAP = 0.9
CONFIDENCE = 0.25
DETECTIONS_A_PICTURE = 100


@dataclass
class Verdict:
    """Figures for the table, and what they miss (empty: nothing)."""

    figures: dict[str, float | int] = field(default_factory=dict)
    misses: list[str] = field(default_factory=list)


def cosines(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Cosine of each item with its like, in f64; two rows of zeros agree, a row with NaN never does."""
    a, b = (rows.reshape(len(rows), -1).astype(np.float64) for rows in (ours, theirs))
    product = (a * b).sum(1)
    size = np.sqrt((a * a).sum(1) * (b * b).sum(1))
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.where(size == 0, (np.abs(a).sum(1) == np.abs(b).sum(1)).astype(float), product / size)
    return np.nan_to_num(value, nan=-1.0)


def cosine(ours: np.ndarray, theirs: np.ndarray) -> Verdict:
    """The least cosine of all items; detectors: boxes and scores apart, since boxes in pixels would drown the scores."""
    if ours.shape != theirs.shape:
        return Verdict({"cosine": -1.0}, [f"shape {list(ours.shape)} instead of {list(theirs.shape)}"])
    parts = [(ours, theirs)]
    if ours.ndim == 3 and ours.shape[1] == 84:
        parts = [(ours[:, :4], theirs[:, :4]), (ours[:, 4:], theirs[:, 4:])]
    each = [cosines(a, b) for a, b in parts]
    least, mean = (min(float(of(values)) for values in each) for of in (np.min, np.mean))
    return Verdict({"cosine": least, "mean": mean}, [] if least >= COSINE else [f"cosine {least:.5f} under {COSINE}"])


def first_place(ours: np.ndarray, theirs: np.ndarray, theirs_f32: np.ndarray) -> Verdict:
    """Agreement on the first place, among the inputs whose margin in the peer exceeds the peer's own error against its f32 model."""
    theirs, theirs_f32 = theirs.astype(np.float64), theirs_f32.astype(np.float64)
    ranked = np.sort(theirs, axis=1)
    margin = ranked[:, -1] - ranked[:, -2]
    error = np.abs(theirs - theirs_f32).max(1)
    sure = margin > error
    if not sure.any():
        return Verdict({"sure": 0}, ["no input has a margin over the peer's own error: the model says nothing"])
    agreement = float((ours.argmax(1) == theirs.argmax(1))[sure].mean())
    return Verdict({"first": agreement, "sure": int(sure.sum())}, [] if agreement >= AGREEMENT else [f"first place agrees for {agreement:.3f}, under {AGREEMENT}"])


def matched_boxes(ours: np.ndarray, theirs: np.ndarray) -> Verdict:
    """Share of detections on either side that the other side also has: same class, IoU 0.9 or more.

    A detection (after suppression) is looked for among all of the other side's candidates of half the confidence threshold: which of
    two near-equal boxes survives suppression, and a score that falls just under the threshold, are no difference in the network.
    """
    matched = total = 0
    for a, b in zip(ours.astype(np.float64), theirs.astype(np.float64)):
        for from_, to in ((a, b), (b, a)):
            boxes, classes = suppressed(*candidates(from_, CONFIDENCE))
            others, other_classes = candidates(to, CONFIDENCE / 2)
            for class_ in np.unique(classes):
                overlap = iou(boxes[classes == class_], others[other_classes == class_])
                matched += int((overlap.max(1, initial=0.0) >= OVERLAP).sum())
            total += len(boxes)
    if total == 0:
        return Verdict({"boxes": 0}, ["nothing is detected in any input: the model says nothing"])
    share = matched / total
    return Verdict({"matched": share, "boxes": total // 2}, [] if share >= AGREEMENT else [f"boxes matched {share:.3f}, under {AGREEMENT}"])


def candidates(output: np.ndarray, confidence: float) -> tuple[np.ndarray, np.ndarray]:
    """Corners [n, 4] and classes of [4 + classes, anchors] over the confidence, the surest first."""
    scores = output[4:]
    classes, anchors = np.nonzero(scores > confidence)
    order = np.argsort(-scores[classes, anchors], kind="stable")
    classes, anchors = classes[order], anchors[order]
    centre, size = output[:2, anchors].T, output[2:4, anchors].T
    return np.concatenate((centre - size / 2, centre + size / 2), 1), classes


def suppressed(boxes: np.ndarray, classes: np.ndarray, overlap: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Per-class non-maximum suppression; candidates come the surest first."""
    kept, free = [], np.arange(len(boxes))
    while len(free) and len(kept) < DETECTIONS_A_PICTURE:
        best = free[0]
        kept.append(best)
        free = free[(classes[free] != classes[best]) | (iou(boxes[best : best + 1], boxes[free])[0] <= overlap)]
        free = free[free != best]
    return boxes[kept], classes[kept]


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of corners [n, 4] and [m, 4]: [n, m]."""
    left, top, right, bottom = (op(a[:, None, i], b[None, :, i]) for i, op in enumerate((np.maximum, np.maximum, np.minimum, np.minimum)))
    shared = np.maximum(right - left, 0) * np.maximum(bottom - top, 0)
    return shared / np.maximum(areas(a)[:, None] + areas(b)[None] - shared, 1e-12)


def areas(boxes: np.ndarray) -> np.ndarray:
    return np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)


def order_of_pairs(ours: np.ndarray, original: np.ndarray, theirs: np.ndarray) -> Verdict:
    """Similarities of sentence pairs: the order of any two is the original's, where those differ by more than twice the peer's worst error."""
    error = float(np.abs(theirs - original).max())
    gap = original[:, None] - original[None]
    sure = gap > 2 * error + 1e-3
    agreement = float(((ours[:, None] - ours[None]) > 0)[sure].mean())
    return Verdict({"order": agreement, "sure": int(sure.sum())}, [] if agreement >= 1.0 else [f"order of pairs kept for {agreement:.3f}, not all"])
