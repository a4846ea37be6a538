"""`penumbra dataset make id-cards`: photographs of cards that do not exist."""

from __future__ import annotations

import re
from pathlib import Path

from penumbra.cli.session import Finished, command, counted, say_findings, track


def id_cards(
    out: Path,
    *,
    count: int,
    frame: str,
    seed: int,
    templates: int,
    geometry: Path | None,
    backgrounds: Path | None,
    upside_down: float,
    jobs: int,
    quiet: bool,
) -> Finished:
    """Make the set and say what it holds."""
    from penumbra.data.cards import make_id_cards

    made = make_id_cards(
        out,
        count=count,
        frame=_sides(frame),
        seed=seed,
        templates=templates,
        geometry=geometry,
        backgrounds=backgrounds,
        upside_down=upside_down,
        jobs=jobs,
        progress=track,
    )
    findings = made.photos.findings
    if not quiet:
        say_findings(findings)
    width, height = made.frame
    document = {
        "out": str(out),
        "count": count,
        "frame": [width, height],
        "seed": seed,
        "templates": templates,
        "groups": made.groups,
        "geometry": made.geometry.source,
        "backgrounds": len(made.photos) or "drawn",
        "findings": [finding.message for finding in findings],
    }
    groups = f"{counted(min(made.groups, count), 'group')} that share no template and no ground"
    photographs = counted(count, "photograph")
    return Finished(
        document,
        (
            f"{photographs} of {width}×{height} pixels with masks and corners, in {groups}.",
            f"They are in {out}; the corners are in corners.csv.",
            f"Next: {command('split', f'folder:{out}', '--out', 'manifest.csv')}",
        ),
        code=1 if findings else 0,
    )


def _sides(text: str) -> tuple[int, int]:
    from penumbra.errors import SettingsError, expected

    match = re.fullmatch(r"([0-9]{1,5})[x×]([0-9]{1,5})", text.strip())
    if match is None:
        raise SettingsError(expected("--frame", "WIDTHxHEIGHT", repr(text), "--frame 640x1138"))
    return int(match[1]), int(match[2])
