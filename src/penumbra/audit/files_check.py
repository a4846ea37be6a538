"""What is wrong with the image files: unreadable, cut short, wrongly named, unlike the others."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np

from penumbra.audit.facts import Scanned
from penumbra.data.layouts.pairs import counted, some
from penumbra.data.sample import Finding
from penumbra.imaging.formats import FileFormat

RARE = 0.05
"""What at most this share of the images have is unlike the others."""
FAR = 2.0
"""Where sizes vary: a side or an area more than this times the usual range is an outlier."""

_SUFFIXES: dict[FileFormat, frozenset[str]] = {
    "png": frozenset({".png"}),
    "jpeg": frozenset({".jpg", ".jpeg", ".jpe", ".jfif"}),
    "gif": frozenset({".gif"}),
    "bmp": frozenset({".bmp", ".dib"}),
    "tiff": frozenset({".tif", ".tiff"}),
    "dicom": frozenset({".dcm", ".dicom", ".ima", ""}),
}


def check_files(samples: Sequence[Scanned]) -> tuple[Finding, ...]:
    """Check the image files of a scan.

    - ``unreadable`` (error): the file is missing, empty, no image, over the limits, or damaged.
    - ``truncated``: a PNG or JPEG without its end mark in the last 64 KiB; an error where the
      image could not be decoded, a warning where a decoder filled in the rest. Of other formats an
      error, where the decoder found that the file ends too soon.
    - ``changed`` (warning): the file changed while the audit ran; audit again.
    - ``wrong-suffix`` (warning): the content is of another format than the name says.
    - ``size-outlier`` (warning): where at least half the images have one size, the sizes that at
      most 5 % have; else images whose height, width, area or aspect lies more than twice the
      interquartile range outside the quartiles, both in logarithms.
    - ``depth-outlier`` (warning): another number type or of channels than most have, in at most 5 %
      of the images.
    - ``blank-image`` (warning): every pixel has one value.

    Args:
        samples: what the scan learned.
    """
    readable = [sample for sample in samples if sample.readable]
    return (
        *_unreadable(samples),
        *_listed(
            [s for s in readable if s.cut],
            "truncated",
            "warning",
            "end too soon; what is missing was filled in when they were read",
        ),
        *_listed(
            [s for s in samples if s.changed], "changed", "warning", "changed while they were read"
        ),
        *_wrong_suffix(samples),
        *_size_outliers(readable),
        *_depth_outliers(readable),
        *_listed(
            [s for s in readable if s.low == s.high],
            "blank-image",
            "warning",
            "hold one value in every pixel",
        ),
    )


def _listed(found: Sequence[Scanned], kind: str, severity: str, says: str) -> Iterable[Finding]:
    if found:
        ids = tuple(sample.id for sample in found)
        images = "image" if len(ids) == 1 else "images"
        yield Finding(kind, severity, ids, f"{len(ids)} {images} {says}: {some(ids)}.")


def _unreadable(samples: Sequence[Scanned]) -> Iterable[Finding]:
    for sample in samples:
        if sample.error is not None:
            kind = "truncated" if sample.cut else "unreadable"
            details = {"file": sample.image.name, "bytes": sample.file_bytes}
            yield Finding(kind, "error", (sample.id,), sample.error, details)


def _wrong_suffix(samples: Sequence[Scanned]) -> Iterable[Finding]:
    by_format: dict[tuple[str, str], list[str]] = defaultdict(list)
    for sample in samples:
        suffix = sample.image.suffix.lower()
        known = next(
            (allowed for name, allowed in _SUFFIXES.items() if name == sample.format), None
        )
        if known is not None and suffix not in known:
            by_format[sample.format, suffix].append(sample.id)
    for (name, suffix), ids in sorted(by_format.items()):
        called = f"named {suffix}" if suffix else "without a suffix"
        number = counted(len(ids), f"file {called} is", f"files {called} are")
        message = f"{number} {name.upper()}: {some(ids)}."
        details = {"format": name, "suffix": suffix}
        yield Finding("wrong-suffix", "warning", tuple(ids), message, details)


def _rare(
    samples: Sequence[Scanned], what: Callable[[Scanned], Hashable]
) -> tuple[str, list[Scanned]] | None:
    """Give what most have, in words, and those that have what at most `RARE` have."""
    counts = Counter(map(what, samples))
    if not counts:
        return None
    usual, most = counts.most_common(1)[0]
    if 2 * most < len(samples):
        return None
    rare = {value for value, count in counts.items() if count <= RARE * len(samples)} - {usual}
    return str(usual), [sample for sample in samples if what(sample) in rare]


def _size_of(sample: Scanned) -> str:
    return f"{sample.size[0]}×{sample.size[1]}"


def _depth_of(sample: Scanned) -> str:
    return f"{sample.dtype} with {sample.channels} channel{'' if sample.channels == 1 else 's'}"


def _outliers(
    found: Sequence[Scanned], kind: str, words: Callable[[Scanned], str], usual: str
) -> Iterable[Finding]:
    if not found:
        return
    ids = tuple(sample.id for sample in found)
    names = (f"{sample.id} ({words(sample)})" for sample in found)
    message = f"{len(ids)} of the images are unlike the others, {usual}: {some(names)}."
    details = {"usual": usual, "found": {sample.id: words(sample) for sample in found}}
    yield Finding(kind, "warning", ids, message, details)


def _depth_outliers(samples: Sequence[Scanned]) -> Iterable[Finding]:
    if (rare := _rare(samples, _depth_of)) is not None:
        yield from _outliers(rare[1], "depth-outlier", _depth_of, f"mostly {rare[0]}")


def _size_outliers(samples: Sequence[Scanned]) -> Iterable[Finding]:
    if not samples:
        return
    if (rare := _rare(samples, _size_of)) is not None:
        yield from _outliers(rare[1], "size-outlier", _size_of, f"mostly {rare[0]}")
        return
    height, width = np.log(np.array([sample.size for sample in samples], dtype=np.float64)).T
    far = np.zeros(len(samples), dtype=bool)
    for values in (height, width, height + width, height - width):
        low, high = np.percentile(values, (25, 75))
        # Never closer than a factor of two: in a set of nearly equal sizes none is an outlier.
        reach = max(FAR * float(high - low), float(np.log(2.0)))
        far |= (values < low - reach) | (values > high + reach)
    middle = np.exp(np.median([height, width], axis=1)).round().astype(int)
    found = [sample for sample, is_far in zip(samples, far, strict=True) if is_far]
    yield from _outliers(found, "size-outlier", _size_of, f"about {middle[0]}×{middle[1]}")
