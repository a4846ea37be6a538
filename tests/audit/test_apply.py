"""Applying decisions: the corrected set is what was decided, the original is what it was."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from penumbra.audit.apply import apply
from penumbra.audit.decisions import decide, read_decisions, undo
from penumbra.audit.placement import Duplicate, lay_over
from penumbra.audit.policy import Policy
from penumbra.data.layouts import open_source
from penumbra.data.manifest import read_manifest, write_manifest
from penumbra.data.split import split_source
from penumbra.errors import SettingsError, SourceError, StorageError
from penumbra.storage import write_bytes

NAMES = ("a", "b", "c", "d", "e")


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path)


def box(top, left, height, width):
    mask = np.zeros((20, 20), dtype=np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


MASKS = {
    "a": box(2, 2, 8, 8),
    "b": box(4, 4, 8, 8),
    "c": box(2, 4, 8, 8),
    "d": box(10, 10, 4, 4),
    "e": np.zeros((20, 20), dtype=np.uint8),
}


@pytest.fixture
def root(tmp_path):
    rng = np.random.default_rng(0)
    images = {name: rng.integers(0, 255, (20, 20)) for name in NAMES}
    images["b"] = images["c"] = images["a"]
    for name in NAMES:
        save(tmp_path / "set" / "images" / f"{name}.png", images[name])
        save(tmp_path / "set" / "masks" / f"{name}.png", MASKS[name] * 255)
    groups = "id,group\n" + "".join(f"{name},p{name}\n" for name in NAMES)
    (tmp_path / "set" / "groups.csv").write_text(groups)
    return tmp_path / "set"


@pytest.fixture
def source(root):
    return open_source(root)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "decisions.jsonl"


PAIRS = (Duplicate("a", "b", "bytes"), Duplicate("b", "c", "bytes"))


def fingerprint(root):
    return {
        path.relative_to(root).as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def masks_of(opened):
    return {sample.id: sample.mask for sample in opened}


@pytest.fixture(params=["folder", "manifest"])
def corrected(request, tmp_path):
    """Apply, and open what came of it."""

    def call(source, **options):
        kind = request.param
        out = f"folder:{tmp_path / 'new'}" if kind == "folder" else str(tmp_path / "new.csv")
        done = apply(source, out, **options)
        return done, open_source(f"folder:{done.out}" if kind == "folder" else done.out)

    return call


FUSED = {
    "union": MASKS["a"] | MASKS["b"] | MASKS["c"],
    "intersection": MASKS["a"] & MASKS["b"] & MASKS["c"],
    "majority": (MASKS["a"] + MASKS["b"] + MASKS["c"] >= 2).astype(np.uint8),
}


@pytest.mark.parametrize("action", FUSED)
def test_masks_are_fused(source, log, corrected, action, root):
    before = fingerprint(root)
    decide(log, source, action, ["a", "b", "c"])
    done, opened = corrected(source, decisions=read_decisions(log))
    masks = masks_of(opened)
    assert set(masks) == {"a", "d", "e"}
    assert np.array_equal(masks["a"], FUSED[action])
    assert np.array_equal(masks["d"], MASKS["d"])
    assert masks["e"].max() == 0
    assert fingerprint(root) == before
    counts = {"samples": 5, "kept": 3, "left_out": 2, "not_copied": 0, "masks_changed": 1}
    assert done.account.counts == counts
    assert done.findings == ()


@pytest.mark.parametrize(("action", "kept"), [("keep-a", "b"), ("keep-b", "a"), ("drop", None)])
def test_one_is_kept_or_none(source, log, corrected, action, kept):
    decide(log, source, action, ["b", "a"])
    _, opened = corrected(source, decisions=read_decisions(log))
    masks = masks_of(opened)
    assert set(masks) == {"c", "d", "e"} | ({kept} if kept else set())
    if kept:
        assert np.array_equal(masks[kept], MASKS[kept])


@pytest.mark.parametrize("action", ["union", "keep-b"])
def test_all_copies_can_stay_with_one_mask_and_one_group(source, log, corrected, action):
    decide(log, source, action, ["a", "b"])
    _, opened = corrected(source, decisions=read_decisions(log), copies="all")
    masks = masks_of(opened)
    assert set(masks) == set(NAMES)
    wanted = MASKS["a"] | MASKS["b"] if action == "union" else MASKS["b"]
    assert np.array_equal(masks["a"], wanted)
    assert np.array_equal(masks["b"], wanted)
    assert np.array_equal(masks["c"], MASKS["c"])
    groups = {record.id: record.group for record in opened.records}
    assert groups["a"] == groups["b"] == "pa+pb"
    assert groups["c"] == "pc"


def test_what_was_taken_back_or_differs_changes_nothing(source, log, corrected):
    made = decide(log, source, "drop", ["a"])
    undo(log, made.id)
    decide(log, source, "not-a-duplicate", ["a", "b"])
    done, opened = corrected(source, decisions=read_decisions(log))
    assert set(masks_of(opened)) == set(NAMES)
    assert done.account.changes == ()


@pytest.mark.parametrize("part", ["images", "masks"])
def test_a_decision_about_a_changed_file_is_stale(root, log, corrected, part):
    source = open_source(root)
    made = decide(log, source, "union", ["a", "b"])
    other = decide(log, source, "drop", ["d"])
    save(root / part / "b.png", np.eye(20) * 255)
    done, opened = corrected(open_source(root), decisions=read_decisions(log))
    assert set(masks_of(opened)) == {"a", "b", "c", "e"}
    (finding,) = done.findings
    assert finding.kind == "stale-decision"
    assert finding.samples == ("b",)
    assert finding.details["decision"] == made.id
    assert [change.decision for change in done.account.changes] == [other.id]


def test_a_file_that_is_gone_or_broken_is_a_finding(root, log, corrected):
    source = open_source(root)
    decide(log, source, "union", ["a", "b"])
    decide(log, source, "union", ["c", "d"])
    (root / "images" / "b.png").unlink()
    (root / "masks" / "c.png").write_bytes(b"no picture")
    done, opened = corrected(open_source(root), decisions=read_decisions(log))
    assert {"unknown-sample", "unreadable"} <= {finding.kind for finding in done.findings}
    assert {record.id for record in opened.records} == {"a", "c", "d", "e"}


def test_masks_are_turned_before_they_are_fused(root, log, corrected):
    save(root / "images" / "d.png", np.rot90(np.array(Image.open(root / "images" / "a.png"))))
    save(root / "masks" / "d.png", np.rot90(MASKS["b"]) * 255)
    source = open_source(root)
    decide(log, source, "union", ["a", "d"], placed={"d": (3, 0, 0)})
    _, opened = corrected(source, decisions=read_decisions(log), copies="all")
    masks = masks_of(opened)
    assert np.array_equal(masks["a"], MASKS["a"] | MASKS["b"])
    assert np.array_equal(masks["d"], np.rot90(masks["a"]))


def test_where_an_image_was_moved_away_each_keeps_its_own(root, log, corrected):
    moved = (0, 26, 0)  # 26 / 256 of 20 pixels: two rows
    decide(log, open_source(root), "keep-b", ["a", "b"], placed={"b": moved})
    _, opened = corrected(open_source(root), decisions=read_decisions(log), copies="all")
    laid = lay_over(MASKS["b"], (20, 20), moved)
    assert (laid[:2] == 255).all()
    wanted = np.where(laid == 255, MASKS["a"], laid)
    assert np.array_equal(masks_of(opened)["a"], wanted)


@pytest.mark.parametrize("policy", ["keep-first", "union", "intersection", "majority", "staple"])
def test_a_policy_is_for_every_group(source, corrected, policy):
    _, opened = corrected(source, policy=policy, pairs=PAIRS)
    masks = masks_of(opened)
    assert set(masks) == {"a", "d", "e"}
    if policy in FUSED:
        assert np.array_equal(masks["a"], FUSED[policy])
    if policy == "keep-first":
        assert np.array_equal(masks["a"], MASKS["a"])


@pytest.mark.parametrize(("least", "left"), [(0.5, {"a", "d", "e"}), (0.6, {"d", "e"})])
def test_conflicts_are_dropped_below_a_dice(source, corrected, least, left):
    # a and b share 36 of 64 pixels each: Dice 0.5625.
    done, opened = corrected(source, policy=f"drop-conflicts:{least}", pairs=PAIRS)
    assert set(masks_of(opened)) == left
    assert "least Dice 0.562" in done.account.changes[0].note


def test_people_come_before_the_policy(source, log, corrected):
    decide(log, source, "keep-b", ["a", "b"])
    done, opened = corrected(
        source, decisions=read_decisions(log), policy="union", pairs=(*PAIRS, Duplicate("d", "e"))
    )
    assert set(masks_of(opened)) == {"b", "c", "d"}
    assert [finding.kind for finding in done.findings] == ["partly-decided"]


def test_what_differs_is_left_alone_by_the_policy(source, log, corrected):
    decide(log, source, "not-a-duplicate", ["b", "c"])
    _, opened = corrected(source, decisions=read_decisions(log), policy="union", pairs=PAIRS)
    assert set(masks_of(opened)) == {"a", "c", "d", "e"}


def test_a_level_bounds_the_policy(source, tmp_path):
    pairs = (Duplicate("a", "b", "bytes"), Duplicate("c", "d", "near"))
    done = apply(
        source, tmp_path / "x.csv", policy=Policy("keep-first", level="pixels"), pairs=pairs
    )
    assert [change.sample for change in done.account.changes] == ["b"]


def test_a_mask_that_is_missing_has_no_say(root, corrected):
    (root / "masks" / "a.png").unlink()
    _, opened = corrected(open_source(root), policy="union", pairs=PAIRS)
    masks = masks_of(opened)
    assert set(masks) == {"b", "d", "e"}
    assert np.array_equal(masks["b"], MASKS["b"] | MASKS["c"])


def test_two_decisions_on_one_mask_are_reported(source, log, corrected):
    decide(log, source, "union", ["a", "b"])
    decide(log, source, "intersection", ["a", "c"])
    done, opened = corrected(source, decisions=read_decisions(log))
    assert [finding.kind for finding in done.findings] == ["overlapping-decisions"]
    assert np.array_equal(masks_of(opened)["a"], MASKS["a"] & MASKS["c"])
    assert "b" not in masks_of(opened)


def test_ignored_pixels_and_classes_come_through(tmp_path, corrected):
    first, second = np.zeros((6, 6), np.uint8), np.zeros((6, 6), np.uint8)
    first[0], second[0] = 255, 255
    first[1:3], second[2:4] = 1, 1
    for name, mask in (("a", first), ("b", second), ("c", np.where(first == 1, 0, first))):
        save(tmp_path / "set" / "images" / f"{name}.png", np.zeros((6, 6)))
        save(tmp_path / "set" / "masks" / f"{name}.png", mask)
    source = open_source(tmp_path / "set", class_names=("background", "thing"))
    _, opened = corrected(source, policy="union", pairs=[Duplicate("a", "b")])
    masks = masks_of(opened)
    assert (masks["a"][0] == 255).all()
    assert np.array_equal(masks["a"][1:], first[1:] | second[1:])
    assert (masks["c"][0] == 255).all()
    assert masks["c"][1:].max() == 0


def test_images_are_copied_as_they_are(source, root, tmp_path):
    done = apply(source, f"folder:{tmp_path / 'new'}", policy="union", pairs=PAIRS)
    for image in (done.out / "images").iterdir():
        assert image.read_bytes() == (root / "images" / image.name).read_bytes()
    names = {path.name for path in done.out.iterdir()}
    assert {"images", "masks", "groups.csv", "classes.txt", "account.json", "account.md"} <= names
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_account_says_what_why_and_by_whom(source, log, corrected):
    decide(log, source, "union", ["a", "b"], author="R. One", note="same | frame <b>")
    done, _ = corrected(source, decisions=read_decisions(log))
    document = json.loads(done.account_file.read_text())
    by_sample = {change["sample"]: change for change in document["changes"]}
    assert by_sample["b"]["change"] == "left-out"
    mask = by_sample["a"]
    assert mask["change"] == "mask"
    assert mask["author"] == "R. One"
    assert mask["pixels"] == int((MASKS["a"] != (MASKS["a"] | MASKS["b"])).sum())
    both = MASKS["a"].sum()
    assert mask["dice"] == pytest.approx(2 * both / (both + (MASKS["a"] | MASKS["b"]).sum()))
    words = done.account_file.with_suffix(".md").read_text()
    assert "same \\| frame \\<b\\>" in words
    assert "R. One" in words


def test_a_stopped_call_goes_on_where_it_stood(source, tmp_path):
    def stopping(items, *, total, what):
        for number, item in enumerate(items):
            if number == 2:
                raise KeyboardInterrupt
            yield item

    def watching(items, *, total, what):
        yield from items

    out = f"folder:{tmp_path / 'new'}"
    with pytest.raises(KeyboardInterrupt):
        apply(source, out, policy="keep-first", pairs=PAIRS, progress=stopping)
    assert not (tmp_path / "new").exists()
    stage = tmp_path / ".new.part"
    times = {path: path.stat().st_mtime_ns for path in stage.rglob("*.png")}
    assert len(times) == 4
    done = apply(source, out, policy="keep-first", pairs=PAIRS, progress=watching)
    for path, time in times.items():
        assert (done.out / path.relative_to(stage)).stat().st_mtime_ns == time
    assert not stage.exists()
    assert len(masks_of(open_source(done.out))) == 3


def test_a_stage_for_something_else_is_begun_anew(source, root, tmp_path):
    def stopping(items, *, total, what):
        yield next(iter(items))
        raise KeyboardInterrupt

    out = f"folder:{tmp_path / 'new'}"
    with pytest.raises(KeyboardInterrupt):
        apply(source, out, policy="keep-first", pairs=PAIRS, progress=stopping)
    save(root / "masks" / "a.png", MASKS["d"] * 255)
    done = apply(open_source(root), out, policy="keep-first", pairs=PAIRS)
    assert np.array_equal(masks_of(open_source(done.out))["a"], MASKS["d"])


def test_a_manifest_keeps_splits_and_can_be_split_and_corrected_again(source, log, tmp_path):
    first = apply(source, tmp_path / "one.csv", policy="union", pairs=PAIRS[:1])
    opened, assignment = read_manifest(first.out)
    assert assignment.splits == {}
    split = split_source(opened, seed=1, fractions=(0.5, 0.25, 0.25))
    write_manifest(tmp_path / "elsewhere" / "split.csv", opened, split)
    again, assignment = read_manifest(tmp_path / "elsewhere" / "split.csv")
    assert assignment.splits == dict(split.splits)
    union = MASKS["a"] | MASKS["b"]
    assert np.array_equal(masks_of(again)["a"], union)
    decide(log, again, "union", ["a", "c"])
    second = apply(again, tmp_path / "two.csv", decisions=read_decisions(log))
    third, kept = read_manifest(second.out)
    assert np.array_equal(masks_of(third)["a"], union | MASKS["c"])
    assert kept.splits == {name: s for name, s in split.splits.items() if name != "c"}


def test_force_replaces_a_manifest_whole(source, tmp_path):
    out = tmp_path / "new.csv"
    apply(source, out, policy="union", pairs=PAIRS)
    with pytest.raises(StorageError, match="--force"):
        apply(source, out, policy="intersection", pairs=PAIRS)
    apply(source, out, policy="intersection", pairs=PAIRS, force=True)
    assert np.array_equal(masks_of(open_source(out))["a"], FUSED["intersection"])


def test_what_cannot_be_is_refused(source, root, tmp_path, log):
    with pytest.raises(SettingsError, match="folder:DIR"):
        apply(source, tmp_path / "new", policy="union")
    with pytest.raises(SettingsError, match="drop-conflicts"):
        apply(source, tmp_path / "new.csv", policy="mean")
    (tmp_path / "full").mkdir()
    with pytest.raises(StorageError, match="there already"):
        apply(source, f"folder:{tmp_path / 'full'}", policy="union")
    for inside in (f"folder:{root / 'corrected'}", str(root / "images" / "new.csv")):
        with pytest.raises(StorageError, match="outside the data set"):
            apply(source, inside, policy="union")
    for name in NAMES:
        decide(log, source, "drop", [name])
    with pytest.raises(SourceError, match="none left"):
        apply(source, tmp_path / "new.csv", decisions=read_decisions(log))


def test_a_stage_that_is_not_ours_is_left_alone(source, tmp_path):
    write_bytes(tmp_path / ".new.part" / "thesis.tex", b"years of work")
    with pytest.raises(StorageError, match="something else"):
        apply(source, f"folder:{tmp_path / 'new'}", policy="union", pairs=PAIRS)
    assert (tmp_path / ".new.part" / "thesis.tex").is_file()
