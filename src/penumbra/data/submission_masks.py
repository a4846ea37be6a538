"""A submission turned back into mask files, one per row."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from penumbra.data.sample import Finding
from penumbra.data.submission import Submission, mask_of_runs
from penumbra.errors import FileNameError, ImageFileError, SettingsError, SourceError, expected
from penumbra.imaging.write import write_mask
from penumbra.progress import Progress, silent

SizeOf = Callable[[str], "tuple[int, int]"]
"""From the name of a row to (height, width) of its image."""


def parse_size(text: str) -> tuple[int, int]:
    """Read ``WIDTHxHEIGHT``, as sizes of images are written, to (height, width).

    Raises:
        SettingsError: it is not two numbers of at least 1 and at most six digits.

    Examples:
        >>> parse_size("580x420")
        (420, 580)
    """
    found = re.fullmatch(r"\s*([1-9][0-9]{0,5})\s*[x×]\s*([1-9][0-9]{0,5})\s*", text.lower())
    if found is None:
        raise SettingsError(expected("the size", "WIDTHxHEIGHT", repr(text[:40]), "580x420"))
    return int(found[2]), int(found[1])


def write_masks(
    submission: Submission,
    out: Path,
    *,
    size_of: SizeOf | None = None,
    progress: Progress = silent,
) -> tuple[int, list[Finding]]:
    """Write every row of a submission as ``NAME_mask.png``, 0 and 1, one mask in memory at a time.

    Args:
        submission: the table.
        out: the folder; made if needed.
        size_of: size of a row's image; by default all are of the submission's size.
        progress: wraps the rows to show a progress bar.

    Returns:
        How many masks were written, and a finding per row that could not be.

    Raises:
        StorageError: a file cannot be written.
    """
    written, findings = 0, []
    for name, runs in progress(submission.runs.items(), total=len(submission), what="masks"):
        try:
            _check_name(name)
            size = submission.size if size_of is None else size_of(name)
            mask = mask_of_runs(runs, size, told=f"image {name} of {submission.path}")
            write_mask(out / f"{name}_mask.png", mask, n_classes=2)
        except (SourceError, ImageFileError, FileNameError) as error:
            findings.append(Finding("unusable-row", "error", (name,), str(error)))
            continue
        written += 1
    return written, findings


def _check_name(name: str) -> None:
    # The name becomes that of a file, and a table may come from anywhere.
    if name in {".", ".."} or "\\" in name or "\0" in name or Path(name).name != name:
        raise SourceError(
            expected("the name of a row", "a file name without folders", repr(name), "a number")
        )
