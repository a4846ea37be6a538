"""From decisions to what changes: which samples go, which masks become another. Nothing is written.

Every decision is applied to the masks of the data set itself, never to the outcome of another, so
that the order of decisions hardly matters: what any of them leaves out stays out, and of two new
masks for one sample the later one counts, which is a finding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from penumbra.audit.decisions import Decision, Decisions
from penumbra.audit.digests import digest_of, mask_of
from penumbra.audit.fuse import FUSIONS, fuse
from penumbra.audit.placement import Duplicate, inverse, lay_over, place_in
from penumbra.audit.policy import Policy, decide_by_policy
from penumbra.data.sample import IGNORE, Finding, Record
from penumbra.data.source import Source
from penumbra.data.together import keep_together
from penumbra.errors import ImageFileError, SourceError
from penumbra.imaging.files import read_size

Copies = Literal["one", "all"]
"""What stays of samples that show the same: the first alone, or all, each with the agreed mask."""


@dataclass(frozen=True)
class Corrections:
    """What is to change.

    Attributes:
        source: the data set, the groups of duplicates merged.
        left_out: id → the decision that leaves the sample out.
        masks: id → the decision that gives the sample another mask.
        decisions: those that hold, in their order.
        findings: decisions that do not hold, and why.
    """

    source: Source
    left_out: Mapping[str, Decision]
    masks: Mapping[str, Decision]
    decisions: tuple[Decision, ...]
    findings: tuple[Finding, ...]

    @property
    def kept(self) -> Source:
        """The samples that stay."""
        records = tuple(each for each in self.source.records if each.id not in self.left_out)
        return replace(self.source, records=records)


def plan_corrections(
    source: Source,
    *,
    decisions: Decisions | None = None,
    policy: Policy | None = None,
    pairs: Sequence[Duplicate] = (),
    copies: Copies = "one",
) -> Corrections:
    """Work out what decisions and a policy change.

    A decision holds where all its samples are in the source and are, image and mask, what they
    were when it was made. One that does not hold is a finding, and changes nothing.

    With A the first of a decision's samples, and masks laid over that of A:

    - ``keep-a``, ``keep-b``: the others are left out; with ``copies="all"`` they get its mask.
    - ``union``, ``intersection``, ``majority``, ``staple``: A gets the fused mask (see
      `penumbra.audit.fuse.fuse`) and the others are left out; with ``"all"`` they get it too.
    - ``drop``: all are left out.
    - ``not-a-duplicate``: nothing changes, and a policy leaves them alone.

    Args:
        source: what is corrected.
        decisions: made by people.
        policy: for groups of duplicates in which nobody decided anything.
        pairs: the duplicates, for the policy.
        copies: what stays of samples that show the same.
    """
    known = decisions or Decisions()
    holding, findings = _that_hold(source, known.active)
    findings = [*known.findings, *findings]
    if policy is not None:
        ruled, noticed = decide_by_policy(source, policy, pairs, decided=holding)
        holding, findings = [*holding, *ruled], [*findings, *noticed]
    left_out: dict[str, Decision] = {}
    masks: dict[str, Decision] = {}
    records = {record.id: record for record in source.records}
    for each in holding:
        out, new = _outcome(each, records, copies)
        left_out |= dict.fromkeys(out, each)
        findings += [_twice(name, masks[name], each) for name in new if name in masks]
        masks |= dict.fromkeys(new, each)
    return Corrections(
        source=keep_together(source, _same(holding)),
        left_out=left_out,
        masks={name: each for name, each in masks.items() if name not in left_out},
        decisions=tuple(holding),
        findings=tuple(findings),
    )


def corrected_mask(
    corrections: Corrections, name: str
) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint8]]:
    """Make the new mask of a sample.

    Args:
        corrections: what is to change.
        name: one of its `masks`.

    Returns:
        The mask it had, or ``None``, and the one it gets, (H, W) class indices. Where the agreed
        mask does not reach, because an image was moved, the sample keeps its own.

    Raises:
        ImageFileError, SourceError: a mask cannot be read.
    """
    decision, source = corrections.masks[name], corrections.source
    records = {record.id: record for record in source.records if record.id in decision.samples}
    own = {each: mask_of(source, records[each]) for each in decision.samples}
    first = decision.samples[0]
    size = read_size(records[first].image)
    laid = {
        each: lay_over(mask, size, place_in(decision.placed, each))
        for each, mask in own.items()
        if mask is not None
    }
    agreed, mine = _agreed(decision, laid, source.n_classes), own[name]
    if name != first:
        back = inverse(place_in(decision.placed, name))
        agreed = lay_over(agreed, read_size(records[name].image), back)
    return mine, agreed if mine is None else np.where(agreed == IGNORE, mine, agreed)


def _agreed(
    decision: Decision, laid: Mapping[str, NDArray[np.uint8]], n_classes: int
) -> NDArray[np.uint8]:
    if decision.action in ("keep-a", "keep-b"):
        return laid[decision.samples[decision.action == "keep-b"]]
    rule = next(rule for rule in FUSIONS if rule == decision.action)
    return fuse(np.stack(list(laid.values())), rule, n_classes=n_classes)


def _outcome(
    decision: Decision, records: Mapping[str, Record], copies: Copies
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Give the ids that are left out, and those that get another mask."""
    if decision.action == "not-a-duplicate":
        return (), ()
    if decision.action == "drop":
        return decision.samples, ()
    kept = decision.samples[decision.action == "keep-b"]
    others = tuple(name for name in decision.samples if name != kept)
    masked = [name for name in decision.samples if records[name].masks]
    fused = decision.action in FUSIONS and bool(masked)
    new = (kept,) if fused else ()
    if copies == "one":
        return others, new
    return (), (*new, *(others if fused or kept in masked else ()))


def _that_hold(
    source: Source, decisions: Sequence[Decision]
) -> tuple[list[Decision], list[Finding]]:
    records = {record.id: record for record in source.records}
    holding: list[Decision] = []
    findings: list[Finding] = []
    for each in decisions:
        problem = _problem(source, records, each)
        if problem is None:
            holding.append(each)
        else:
            findings.append(problem)
    return holding, findings


def _problem(source: Source, records: Mapping[str, Record], decision: Decision) -> Finding | None:
    """Say why a decision does not hold, if it does not."""
    what = f"The decision {decision.action} on {', '.join(decision.samples[:3])}"
    details = {"decision": decision.id}
    gone = tuple(name for name in decision.samples if name not in records)
    if gone:
        message = f"{what} was not applied: {gone[0]!r} is not in {source.name}."
        return Finding("unknown-sample", "warning", gone, message, details)
    changed = []
    for name in decision.samples:
        try:
            now = digest_of(source, records[name])
        except (ImageFileError, SourceError) as error:
            message = f"{what} was not applied: {error}"
            return Finding("unreadable", "error", (name,), message, details)
        if decision.digests.get(name) != now:
            changed.append(name)
    if changed:
        message = f"{what} was not applied: {changed[0]} has changed since. Decide again."
        return Finding("stale-decision", "warning", tuple(changed), message, details)
    return None


def _twice(name: str, first: Decision, second: Decision) -> Finding:
    message = (
        f"Two decisions give {name} a mask ({first.action}, then {second.action}); the later one "
        "counts."
    )
    details = {"decisions": [first.id, second.id]}
    return Finding("overlapping-decisions", "warning", (name,), message, details)


def _same(decisions: Sequence[Decision]) -> list[tuple[str, str]]:
    return [
        (each.samples[0], other)
        for each in decisions
        if each.action != "not-a-duplicate"
        for other in each.samples[1:]
    ]
