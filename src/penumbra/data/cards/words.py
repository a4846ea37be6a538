"""Words of no language and names of nobody, for the text on a card."""

from __future__ import annotations

import numpy as np

_HEADS = (
    "b", "d", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "x",
    "z", "br", "dr", "fl", "gl", "kr", "pl", "qu", "sk", "thr", "tr", "vr", "zh"
)  # fmt: skip
_CORES = (
    "a", "ae", "e", "eo", "i", "ia", "o", "oi", "u", "uo", "y", "au"
)  # fmt: skip
_TAILS = (
    "b", "d", "g", "k", "l", "m", "n", "p", "r", "s", "t", "x", "z", "rk", "lb", "nth",
    "sk", "mp"
)  # fmt: skip
_LABELS = (
    "nomu/prenu", "dato/dat", "numro/no", "xenro/sex", "natio/nat", "emisu/iss",
    "valiu/exp", "loko/plac"
)  # fmt: skip


def word(rng: np.random.Generator, syllables: int = 2) -> str:
    """Make one word in capitals.

    Examples:
        >>> word(np.random.default_rng(0)).isupper()
        True
    """
    parts = [
        _HEADS[int(rng.integers(len(_HEADS)))] + _CORES[int(rng.integers(len(_CORES)))]
        for _ in range(syllables)
    ]
    return ("".join(parts) + _TAILS[int(rng.integers(len(_TAILS)))]).upper()


def state(rng: np.random.Generator) -> str:
    """Make the name of a state that does not exist."""
    kind = ("REPUBLIKO", "UNIONO", "TERRITORO", "FEDERAJO")[int(rng.integers(4))]
    return f"{kind} {word(rng, 2)}IA"


def title(rng: np.random.Generator) -> str:
    """Make what such a card is called there."""
    kind = ("IDENTIGA KARTO", "SPECIMEN KARD", "LICENZO", "RESIDU PERMESO", "KARTA DU IDENTU")
    return kind[int(rng.integers(len(kind)))]


def label(number: int) -> str:
    """Give the small label over one of a card's fields."""
    return _LABELS[number % len(_LABELS)]


def value(rng: np.random.Generator, number: int) -> str:
    """Make what stands in one of a card's fields: a name, a date, a number or a code."""
    kind = number % 5
    if kind == 0:
        return " ".join(word(rng, int(rng.integers(1, 4))) for _ in range(int(rng.integers(1, 3))))
    if kind in {1, 4}:
        day, month, year = (int(rng.integers(*ends)) for ends in ((1, 29), (1, 13), (1940, 2034)))
        return f"{day:02d}.{month:02d}.{year}"
    if kind == 2:
        return number_of(rng)
    return f"{word(rng, 1)[:3]}/{word(rng, 1)[:1]}"


def number_of(rng: np.random.Generator) -> str:
    """Make the number of a document."""
    digits = "".join(map(str, rng.integers(0, 10, int(rng.integers(7, 10)))))
    return f"{word(rng, 1)[: int(rng.integers(0, 3))]}{digits}"


def machine_line(rng: np.random.Generator, length: int) -> str:
    """Make one line of the zone that machines read."""
    text = "<".join((f"X{word(rng, 1)[:3]}", number_of(rng), word(rng, 2), word(rng, 2)))
    return text[:length].ljust(length, "<")
