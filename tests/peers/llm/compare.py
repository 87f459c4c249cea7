"""Figures of two tables of logits, and tables of figures. Python alone, so that a build machine needs nothing more."""

import math
from collections.abc import Sequence


def rows(values: Sequence[float], positions: int) -> list[Sequence[float]]:
    width = len(values) // positions
    return [values[i * width : (i + 1) * width] for i in range(positions)]


def check_shape(ours: Sequence[float], theirs: Sequence[float]) -> None:
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} logits where {len(theirs)} were expected")


def largest_error(ours: Sequence[float], theirs: Sequence[float], positions: int) -> float:
    """Largest difference over the largest logit of a position, of the worst position."""
    check_shape(ours, theirs)
    return worst(max(abs(a - b) for a, b in zip(x, y)) / max(map(abs, y)) for x, y in zip(rows(ours, positions), rows(theirs, positions)))


def rms_error(ours: Sequence[float], theirs: Sequence[float], positions: int) -> float:
    """Root mean square of differences over that of the logits of a position, of the worst position."""
    check_shape(ours, theirs)
    pairs = zip(rows(ours, positions), rows(theirs, positions))
    return worst(math.sqrt(sum((a - b) ** 2 for a, b in zip(x, y)) / sum(b * b for b in y)) for x, y in pairs)


def cosine(ours: Sequence[float], theirs: Sequence[float], positions: int) -> float:
    """Of the worst position."""
    check_shape(ours, theirs)
    found = []
    for x, y in zip(rows(ours, positions), rows(theirs, positions)):
        sizes = math.sqrt(sum(a * a for a in x) * sum(b * b for b in y))
        found.append(sum(a * b for a, b in zip(x, y)) / sizes if sizes > 0 else -1.0)
    return -worst(-value for value in found)


def worst(values) -> float:
    """The largest; NaN is worse than any."""
    return max(math.inf if math.isnan(value) else value for value in values)


def greedy(ours: list[int], theirs: list[int], margins: list[float], tolerance: float) -> tuple[int, bool]:
    """Steps with the same token before the first other one, and whether that one is forgiven for the reference's own doubt."""
    for step, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        if a != b:
            return step, margins[step] < tolerance
    return len(theirs), True


def negative_log_likelihood(logits: Sequence[float], tokens: list[int]) -> float:
    """Sum over all tokens but the first, each given those before it."""
    total = 0.0
    for row, token in zip(rows(logits, len(tokens)), tokens[1:]):
        highest = max(row)
        total += highest + math.log(sum(math.exp(value - highest) for value in row)) - row[token]
    return total


def table(figures: dict[str, dict], columns: list[str], heading: str) -> str:
    columns = [column for column in columns if any(column in row for row in figures.values())]
    lines = [f"| {heading} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, row in figures.items():
        lines.append(f"| {name} | " + " | ".join(cell(row.get(column)) for column in columns) + " |")
    return "\n".join(lines)


def cell(value) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.1e}" if abs(value) < 0.01 else f"{value:.5f}" if abs(value) <= 1 else f"{value:.2f}"
    return str(value)
