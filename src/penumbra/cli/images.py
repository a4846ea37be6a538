"""Which image files a verb was given, and what their results are called."""

from __future__ import annotations

from pathlib import Path


def image_files(paths: list[Path], out: Path) -> tuple[list[Path], list[dict[str, str]]]:
    """Give the image files named or held by the folders named; a folder of none is a finding.

    Raises:
        SettingsError: results in `out` could lie over files beside an image.
    """
    from penumbra.errors import SettingsError, expected
    from penumbra.imaging.files import looks_like_image

    files: list[Path] = []
    findings: list[dict[str, str]] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inside = sorted(p for p in path.iterdir() if looks_like_image(p))
        files += inside
        if not inside:
            inner = path / "images"
            better = (
                str(inner) if inner.is_dir() else "another folder; those inside are not searched"
            )
            message = expected(f"the folder {path}", "one of image files", "none in it", better)
            findings.append({"kind": "no-images", "image": str(path), "message": message})
    if any(file.parent.resolve() == out.resolve() for file in files):
        raise SettingsError(
            expected(
                f"--out {out}",
                "another folder than the images'",
                "the same, where STEM_mask.png may be a mask of your own",
                f"--out {out / 'predictions'}",
            )
        )
    return files, findings


def own_stems(files: list[Path]) -> list[str]:
    """Give each file a stem of its own, so that a/1.png and b/1.png do not meet."""
    stems: list[str] = []
    taken: set[str] = set()
    for file in files:
        # A backslash parts folders on Windows, where the results may be read.
        base = file.stem.replace("\\", "_")
        stem, number = base, 2
        # macOS and Windows hold two names that differ in case alone to be one file.
        while stem.casefold() in taken:
            stem, number = f"{base}-{number}", number + 1
        taken.add(stem.casefold())
        stems.append(stem)
    return stems
