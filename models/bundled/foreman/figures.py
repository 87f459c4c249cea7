"""Numbers as they are spoken."""

import random

SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
).split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()


def words(n: int, rng: random.Random) -> str:
    """A whole number below 10,000 as it is spoken."""
    if n < 20:
        return SMALL[n]
    if n < 100:
        return TENS[n // 10] + (rng.choice([" ", " ", "-"]) + SMALL[n % 10] if n % 10 else "")
    size, name = (1000, " thousand") if n >= 1000 else (100, " hundred")
    head = "a" if n // size == 1 and rng.random() < 0.3 else words(n // size, rng)
    return head + name + (rng.choice([" and ", " "]) + words(n % size, rng) if n % size else "")
