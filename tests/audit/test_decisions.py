"""Decisions: added to, taken back, given back, torn, made twice."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from penumbra.audit.decisions import ACTIONS, decide, read_decisions, undo
from penumbra.audit.digests import digest_of
from penumbra.data.layouts import open_source
from penumbra.errors import SettingsError, SourceError


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path)


@pytest.fixture
def source(tmp_path):
    for number, name in enumerate(("a", "b", "c")):
        save(tmp_path / "set" / "images" / f"{name}.png", np.full((4, 5), 40 * number))
        save(tmp_path / "set" / "masks" / f"{name}.png", np.eye(4, 5) * 255)
    return open_source(tmp_path / "set")


@pytest.fixture
def log(tmp_path):
    return tmp_path / "audit" / "decisions.jsonl"


def test_a_decision_says_what_when_by_whom_on_what(source, log):
    made = decide(log, source, "union", ["b", "a"], author="R. One", note="same frame")
    (line,) = [json.loads(text) for text in log.read_text().splitlines()]
    assert line["action"] == "union"
    assert line["samples"] == ["b", "a"]
    assert line["author"] == "R. One"
    assert line["time"].endswith("+00:00")
    assert (
        line["digests"]["a"]["image"]
        == hashlib.sha256((source.root / "images" / "a.png").read_bytes()).hexdigest()
    )
    assert read_decisions(log).active == (made,)


def test_lines_are_only_ever_added(source, log):
    before = b""
    first = decide(log, source, "drop", ["a"])
    for change in (
        lambda: undo(log, first.id),
        lambda: decide(log, source, "keep-b", ["a", "c"]),
        lambda: decide(log, source, "keep-a", ["a", "c"]),
    ):
        now = log.read_bytes()
        assert now.startswith(before)
        before = now
        change()
    assert log.read_bytes().startswith(before)


def test_an_undo_can_be_undone(source, log):
    made = decide(log, source, "majority", ["a", "b", "c"])
    back = undo(log, made.id)
    assert read_decisions(log).active == ()
    assert read_decisions(log).undone == (made,)
    again = undo(log, back)
    assert read_decisions(log).active == (made,)
    undo(log, again)
    assert read_decisions(log).active == ()


def test_the_last_decision_on_the_same_samples_counts(source, log):
    first = decide(log, source, "keep-a", ["a", "b"])
    other = decide(log, source, "drop", ["c"])
    last = decide(log, source, "union", ["b", "a"])
    found = read_decisions(log)
    assert found.active == (other, last)
    assert found.replaced == (first,)
    undo(log, last.id)
    assert read_decisions(log).active == (first, other)


@given(st.lists(st.integers(0, 30), max_size=25))
@settings(max_examples=30, deadline=None)
def test_any_order_of_undoes_is_what_a_stack_of_words_says(tmp_path_factory, picks):
    """Whether a line holds is decided by the last line that speaks of it and itself holds."""
    log = tmp_path_factory.mktemp("undo") / "decisions.jsonl"
    digest = {"image": "0", "mask": None}
    ids, undoes = ["d0"], {}
    line = {"version": 1, "id": "d0", "time": "", "action": "drop", "samples": ["a"]}
    log.write_text(json.dumps(line | {"digests": {"a": digest}}) + "\n")
    for pick in picks:
        wanted = ids[pick % len(ids)]
        name = undo(log, wanted)
        ids.append(name)
        undoes[name] = wanted

    def holds(name):
        return not any(undone == name and holds(other) for other, undone in undoes.items())

    assert (len(read_decisions(log)) == 1) == holds("d0")


@pytest.mark.parametrize("torn", [1, 20, 100])
def test_a_torn_last_line_costs_that_line_alone(source, log, torn):
    first = decide(log, source, "keep-a", ["a", "b"])
    decide(log, source, "drop", ["c"])
    log.write_bytes(log.read_bytes()[:-torn])
    found = read_decisions(log)
    assert found.active[0] == first
    if torn > 1:
        assert [finding.kind for finding in found.findings] == ["unreadable-decision"]
        assert "torn" in found.findings[0].message
    last = decide(log, source, "keep-b", ["a", "c"])
    assert read_decisions(log).active[-1] == last
    assert read_decisions(log).active[0] == first


@pytest.mark.parametrize(
    "line",
    [
        "not json",
        "[]",
        '{"version": 9, "id": "x"}',
        '{"version": 1, "id": "x", "action": "explode", "samples": ["a", "b"], "digests": {}}',
        '{"version": 1, "id": "x", "time": "", "action": "union", "samples": 3, "digests": {}}',
        '{"version": 1, "id": "x", "time": "", "action": "drop", "samples": ["a"], "digests": 1}',
        "[" * 100_000,
    ],
)
def test_a_bad_line_is_a_finding(source, log, line):
    log.parent.mkdir()
    log.write_text(line + "\n")
    made = decide(log, source, "drop", ["a"])
    found = read_decisions(log)
    assert found.active == (made,)
    assert [finding.kind for finding in found.findings] == ["unreadable-decision"]


def test_a_mask_is_hashed_as_it_is_decoded(source):
    record = source.records[0]
    before = digest_of(source, record)
    # The same mask in class indices and another file is the same mask.
    save(record.masks[0], np.eye(4, 5))
    assert digest_of(open_source(source.root), record).mask == before.mask
    save(record.masks[0], np.zeros((4, 5)))
    assert digest_of(open_source(source.root), record).mask != before.mask
    save(record.image, np.ones((4, 5)))
    assert digest_of(source, record).image != before.image


def test_wrong_requests_are_refused_and_leave_no_line(source, log):
    for action, samples in (("explode", "ab"), ("union", "a"), ("union", "aa"), ("drop", "")):
        with pytest.raises(SettingsError, match="Expected"):
            decide(log, source, action, list(samples))
    with pytest.raises(SourceError, match="every sample"):
        decide(log, source, "union", ["a", "nobody"])
    assert not log.exists()
    with pytest.raises(SourceError, match="decisions"):
        read_decisions(log)
    decide(log, source, "drop", ["a"])
    with pytest.raises(SettingsError, match="that of a line"):
        undo(log, "nothing")


@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_comes_back(source, log, action):
    place = {"b": (3, -2, 0)}
    made = decide(log, source, action, ["a", "b", "c"], placed=place)
    (found,) = read_decisions(log).active
    assert found == made
    assert found.placed == place
