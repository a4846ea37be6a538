"""`penumbra calibrate`: what held-out samples teach about a network that stays as it is."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from penumbra.cli.session import Finished, Json, Seed, Target, track, verb


class HeldOutSplit(StrEnum):
    """Which samples; those of the training teach nothing."""

    val = "val"
    test = "test"
    all = "all"


class PatternName(StrEnum):
    """Which noise."""

    auto = "auto"
    lattice = "lattice"
    perlin = "perlin"
    simplex = "simplex"
    gaussian = "gaussian"


class TemperatureKind(StrEnum):
    """Which temperature."""

    auto = "auto"
    none = "none"
    one = "global"
    each = "class"
    local = "local"


class Whether(StrEnum):
    """Whether to fit something."""

    auto = "auto"
    on = "on"
    off = "off"


class GateKind(StrEnum):
    """What the strength of the noise depends on."""

    auto = "auto"
    scalar = "scalar"
    input = "input"


@verb
def calibrate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    source: Annotated[str, typer.Argument(help="LAYOUT:PATH, a path or a manifest.")],
    split: Annotated[
        HeldOutSplit, typer.Option("--split", help="Which samples; never those of the training.")
    ] = HeldOutSplit.val,
    target: Target = None,
    sites: Annotated[
        str,
        typer.Option("--sites", help="Where noise enters: skips, encoder, or names with commas."),
    ] = "skips",
    pattern: Annotated[
        PatternName, typer.Option("--pattern", help="Of the noise; auto searches.")
    ] = PatternName.auto,
    length: Annotated[
        str, typer.Option("--length", help="Correlation length in image pixels; auto searches.")
    ] = "auto",
    n_eff: Annotated[
        float,
        typer.Option("--n-eff", help="Independent pixels of a tile: the dial of dispersion."),
    ] = 16.0,
    passes: Annotated[
        int, typer.Option("--passes", min=2, help="Passes of the noise that is judged.")
    ] = 8,
    temperature: Annotated[
        TemperatureKind, typer.Option("--temperature", help="auto keeps what pays.")
    ] = TemperatureKind.auto,
    noise: Annotated[
        Whether, typer.Option("--noise", help="Noise in features; auto keeps it if it pays.")
    ] = Whether.auto,
    gates: Annotated[
        GateKind,
        typer.Option("--gates", help="Noise of one strength per site, or by what is seen there."),
    ] = GateKind.auto,
    logit_noise: Annotated[
        Whether, typer.Option("--logit-noise", help="Noise behind the network; auto as above.")
    ] = Whether.auto,
    presence: Annotated[
        bool,
        typer.Option(
            "--presence",
            help="First choose what empties masks and takes islands off: presence.json.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of calibration.json; by default the run.")
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps.")
    ] = "auto",
    seed: Seed = 0,
    json: Json = False,
) -> Finished:
    """Fit temperatures, noise, area intervals and flags on held-out samples.

    The network stays as it is. What is richer is kept only where it is better on groups that it
    was not fitted on.
    """
    pixels = _pixels(length)
    from penumbra.calibration.calibrate import calibrate as calibrate_run
    from penumbra.calibration.options import CalibrationOptions

    options = CalibrationOptions(
        sites=sites,
        pattern=pattern.value,
        length=pixels,
        n_eff=n_eff,
        passes=passes,
        temperature=temperature.value,
        noise=noise.value,
        gates=gates.value,
        logit_noise=logit_noise.value,
        seed=seed,
    )
    rule = None
    if presence:
        from penumbra.calibration.presence import calibrate_presence

        rule = calibrate_presence(
            run, source, split=split.value, target=target, out=out, seed=seed, device=device,
            progress=functools.partial(track, transient=True),
        )  # fmt: skip
    found = calibrate_run(
        run, source, options=options, split=split.value, target=target, out=out, device=device,
        progress=functools.partial(track, transient=True),
    )  # fmt: skip
    where = str((out or run) / "calibration.json")
    document = {
        "calibration": where,
        "sampler": found.sampler,
        "temperature": found.temperature.kind,
        **found.record,
    }
    lines = list(_lines(found.record, found.sampler, where))
    if rule is not None:
        document["presence"] = rule.model_dump(mode="json")
        lines.insert(0, presence_line(document["presence"]))
    return Finished(document, lines)


def _pixels(length: str) -> float | None:
    if length == "auto":
        return None
    try:
        return float(length)
    except ValueError:
        from penumbra.errors import SettingsError, expected

        raise SettingsError(
            expected("--length", "auto or a number of pixels", repr(length), "--length 32")
        ) from None


def _lines(record: dict[str, Any], sampler: str, where: str) -> Iterable[str]:
    from penumbra.calibration.fit import say_effect

    yield (
        f"{count(record['n_tiles'], 'tile')} of {count(record['n_images'], 'image')} of "
        f"{count(record['n_groups'], 'group')}, "
        f"{record['seconds']:.0f} s for the fits and {record['seconds_of_predictions']:.0f} s for "
        "predictions of whole images."
    )
    for row in record["comparisons"]:
        yield "  " + comparison_line(row)
    yield say_effect(record)
    where_judged = ", on groups left out" if record["n_groups"] > 1 else ""
    yield (
        f"Pixel NLL {record['nll_before']:.4f} before, {record['nll_after']:.4f} after; joint tile "
        f"NLL {record['joint_before']:.4f} and {record['joint_after']:.4f}{where_judged}."
    )
    yield from record["notes"]
    yield f"The default sampler is {sampler}. The calibration is {where}."


def presence_line(rule: dict[str, Any]) -> str:
    """Say what the presence rule does.

    Examples:
        >>> presence_line({"score": "head", "threshold": 0.4, "smallest": 0.002, "record": {
        ...     "kept": True, "dice_before": 0.5, "dice_on_groups_left_out": 0.6,
        ...     "dice_after": 0.61, "n_images": 30, "n_empty": 12}})
        'Masks are emptied where head is below 0.4, parts under 0.2 % of the image go: Dice 0.500 before, 0.610 after, 0.600 on groups left out (30 images, 12 of them empty).'
        >>> presence_line({"score": "area", "threshold": 0.0, "smallest": 0.0, "record": {
        ...     "kept": True, "n_images": 3, "n_empty": 1}})
        'No rule was kept: none was better than leaving every mask as it is (3 images, 1 of them empty).'
    """  # noqa: E501 - a doctest's line
    record = rule["record"]
    facts = f"({count(record['n_images'], 'image')}, {record['n_empty']} of them empty)"
    if not record["kept"]:
        return f"No rule was kept: none was better on groups left out {facts}."
    if not (rule["threshold"] or rule["smallest"]):
        return f"No rule was kept: none was better than leaving every mask as it is {facts}."
    out = record["dice_on_groups_left_out"]
    judged = "" if out is None else f", {out:.3f} on groups left out"
    does = []
    if rule["threshold"]:
        does.append(f"masks are emptied where {rule['score']} is below {rule['threshold']:.3g}")
    if rule["smallest"]:
        does.append(f"parts under {100 * rule['smallest']:.3g} % of the image go")
    said = ", ".join(does)
    return (
        f"{said[0].upper()}{said[1:]}: Dice {record['dice_before']:.3f} before, "
        f"{record['dice_after']:.3f} after{judged} {facts}."
    )


def count(n: int, what: str) -> str:
    """Write a number of things.

    Examples:
        >>> count(1, "group"), count(2, "group")
        ('1 group', '2 groups')
    """
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def comparison_line(row: dict[str, Any]) -> str:
    """Write a comparison in one line.

    Examples:
        >>> comparison_line({"what": "local", "against": "global", "metric": "pixel NLL",
        ...                  "gain": 0.01, "low": 0.004, "high": 0.016, "kept": True})
        'kept:    local against global, pixel NLL lower by 0.0100 ± 0.0060'
    """
    verdict = "kept:   " if row["kept"] else "dropped:"
    if row.get("rule") == "not worse":
        verdict = "allowed:" if row["kept"] else "barred: "
    way = "lower" if row["gain"] >= 0 else "higher"
    return (
        f"{verdict} {row['what']} against {row['against']}, {row['metric']} {way} by "
        f"{abs(row['gain']):.4f} ± {row['gain'] - row['low']:.4f}"
    )
