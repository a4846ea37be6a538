"""`penumbra audit apply` and `penumbra split --audit` from the outside."""

import csv
import json
import shutil

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from penumbra.audit.decisions import decide
from penumbra.cli.main import app
from penumbra.data.layouts import open_source
from penumbra.data.phantom import make_phantom
from penumbra.training.experiment import SplitSettings
from penumbra.training.plan import open_split_source

RUNNER = CliRunner()


def call(*arguments, code=0):
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output + str(result.exception)
    return result


def call_json(*arguments, code=0):
    return json.loads(call(*arguments, "--json", code=code).stdout)


@pytest.fixture
def copies(tmp_path):
    """A phantom set in which four images lie twice, under another group and with another mask."""
    root = make_phantom(tmp_path / "set", count=24, size=32, seed=3, kinds=("xray",))
    lines = (root / "groups.csv").read_text().splitlines()
    for number in range(0, 16, 4):
        old, new = f"xray_{number:05d}", f"copy_{number:05d}"
        shutil.copy(root / "images" / f"{old}.png", root / "images" / f"{new}.png")
        mask = cv2.imread(str(root / "masks" / f"{old}.png"), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(root / "masks" / f"{new}.png"), np.roll(mask, 5, axis=0))
        lines.append(f"{new},other {number}")
    (root / "groups.csv").write_text("\n".join(lines) + "\n")
    return root


def split_of(path):
    with path.open(encoding="utf-8") as handle:
        return {row["id"]: row for row in csv.DictReader(handle)}


def test_split_keeps_what_the_audit_found_together(copies, tmp_path):
    audit, out = tmp_path / "audit", tmp_path / "manifest.csv"
    first = call_json("split", f"folder:{copies}", "--audit", audit, "--out", out)
    assert (audit / "pairs.parquet").is_file()
    assert (audit / "report.html").is_file()
    assert first["pairs_kept_together"] >= 4
    rows = split_of(out)
    for number in range(0, 16, 4):
        a, b = rows[f"xray_{number:05d}"], rows[f"copy_{number:05d}"]
        assert a["split"] == b["split"]
        assert a["group"] == b["group"]
    again = tmp_path / "again.csv"
    assert call_json("split", f"folder:{copies}", "--audit", audit, "--out", again)
    assert split_of(again) == rows


def test_split_believes_who_said_that_they_differ(copies, tmp_path):
    audit = tmp_path / "audit"
    # Its exit status is 1, since masks of the same image disagree.
    call("audit", f"folder:{copies}", "--out", audit, code=1)
    names = ["xray_00000", "copy_00000"]
    decide(audit / "decisions.jsonl", open_source(copies), "not-a-duplicate", names)
    out = tmp_path / "manifest.csv"
    call("split", f"folder:{copies}", "--audit", audit, "--out", out)
    rows = split_of(out)
    assert rows["copy_00000"]["group"] == "other 0"
    assert rows["copy_00004"]["group"] != "other 4"


def test_apply_decisions_and_policy_then_split_and_train(copies, tmp_path, quick):
    log, out = tmp_path / "decisions.jsonl", tmp_path / "corrected.csv"
    source = open_source(copies)
    decide(log, source, "keep-b", ["xray_00000", "copy_00000"], author="R. One")
    document = call_json(
        "audit", "apply", f"folder:{copies}", "--decisions", log, "--policy", "union",
        "--level", "bytes", "--out", out,
    )  # fmt: skip
    # The mask of xray_00004 is empty, as is its copy's.
    counts = {"samples": 28, "kept": 24, "left_out": 4, "not_copied": 0, "masks_changed": 2}
    assert document["counts"] == counts
    manifest, run = tmp_path / "manifest.csv", tmp_path / "run"
    call("split", out, "--out", manifest)
    rows = split_of(manifest)
    assert "copy_00000" in rows
    assert "xray_00000" not in rows
    assert rows["copy_00008"]["mask"].startswith("corrected_masks/copy_00008.")
    call("train", manifest, "--out", run, *quick)
    kept = split_of(run / "manifest.csv")
    assert kept["copy_00008"]["mask"].endswith(rows["copy_00008"]["mask"])
    trained = open_source(run / "manifest.csv")
    by_id = {record.id: at for at, record in enumerate(trained.records)}
    before = {record.id: at for at, record in enumerate(source.records)}
    union = source[before["xray_00008"]].mask | source[before["copy_00008"]].mask
    assert np.array_equal(trained[by_id["copy_00008"]].mask, union)
    # A manifest without a split is split by the settings of the training.
    _, assignment = open_split_source(out, split=SplitSettings())
    assert len(assignment.splits) == 24


def test_apply_writes_a_folder_and_says_what_to_do_next(copies, tmp_path):
    out = tmp_path / "a folder"
    result = call(
        "audit", "apply", f"folder:{copies}", "--policy", "keep-first", "--level", "pixels",
        "--out", f"folder:{out}",
    )  # fmt: skip
    assert "Of 28 samples 4 were left out" in result.stdout
    assert f"penumbra split 'folder:{out}'" in result.stdout
    assert len(open_source(f"folder:{out}")) == 24


def test_a_stale_decision_is_said_and_the_rest_applied(copies, tmp_path):
    log = tmp_path / "decisions.jsonl"
    source = open_source(copies)
    decide(log, source, "drop", ["xray_00001"])
    decide(log, source, "drop", ["xray_00002"])
    (copies / "masks" / "xray_00001.png").write_bytes(
        (copies / "masks" / "xray_00000.png").read_bytes()
    )
    document = call_json(
        "audit", "apply", copies, "--decisions", log, "--out", tmp_path / "new.csv"
    )
    assert [finding["kind"] for finding in document["findings"]] == ["stale-decision"]
    assert document["counts"]["left_out"] == 1


def test_apply_says_what_is_missing(copies, tmp_path):
    out = tmp_path / "new.csv"
    assert "--policy" in call("audit", "apply", copies, "--out", out, code=1).stderr
    nothing = tmp_path / "none.jsonl"
    result = call("audit", "apply", copies, "--decisions", nothing, "--out", out, code=1)
    assert "none.jsonl" in result.stderr
    result = call("audit", "apply", copies, "--policy", "best", "--out", out, code=1)
    assert "keep-first" in result.stderr
    bad = tmp_path / "audit"
    bad.mkdir()
    (bad / "pairs.parquet").write_bytes(b"PAR1 but no more")
    options = ("--policy", "union", "--audit", bad, "--out", out)
    assert "pairs of an audit" in call("audit", "apply", copies, *options, code=1).stderr


def test_a_stale_audit_is_not_used(copies, tmp_path):
    audit, out = tmp_path / "audit", tmp_path / "corrected.csv"
    call("audit", f"folder:{copies}", "--out", audit, code=1)
    changed = copies / "images" / "copy_00004.png"
    noise = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    cv2.imwrite(str(changed), noise)
    verbs = {
        "split": ("split", f"folder:{copies}", "--audit", audit, "--out", out),
        "apply": ("audit", "apply", f"folder:{copies}", "--audit", audit,
                  "--policy", "keep-first", "--out", out),
    }  # fmt: skip
    for arguments in verbs.values():
        said = " ".join(call(*arguments, code=1).output.split())
        assert "1 changed since (copy_00004)" in said
        assert "penumbra audit" in said
        assert not out.exists()
    shutil.copy(changed, copies / "images" / "later.png")
    said = " ".join(call(*verbs["split"], code=1).output.split())
    assert "1 unknown to it (later) and 1 changed since (copy_00004)" in said


def test_an_audit_of_another_set_is_not_used(copies, tmp_path):
    other = make_phantom(tmp_path / "other", count=6, size=32, seed=4, kinds=("card",))
    audit = tmp_path / "audit"
    call("audit", f"folder:{other}", "--out", audit)
    said = call("split", f"folder:{copies}", "--audit", audit, "--out", tmp_path / "m.csv", code=1)
    assert "one of 6 other samples" in " ".join(said.output.split())


def test_a_moved_set_and_a_part_of_it_are_still_what_was_audited(copies, tmp_path):
    audit = tmp_path / "audit"
    call("audit", f"folder:{copies}", "--out", audit, code=1)
    moved = tmp_path / "moved"
    shutil.copytree(copies, moved, copy_function=shutil.copyfile)  # other times of change
    (moved / "images" / "copy_00000.png").unlink()
    first = call_json("split", f"folder:{moved}", "--audit", audit, "--out", tmp_path / "m.csv")
    assert first["pairs_kept_together"] >= 3


def test_an_audit_finds_out_at_once_what_it_cannot_use(copies, tmp_path):
    manifest = tmp_path / "m.csv"
    call("split", f"folder:{copies}", "--out", manifest)
    other = make_phantom(tmp_path / "other", count=6, size=32, seed=4, kinds=("card",))
    for option, says in (
        (("--manifest", manifest), "ids that it does not have"),
        (("--run", tmp_path), "without experiment.yaml"),
        (("--out", other / "images"), "holds the images"),
    ):
        arguments = option if option[0] == "--out" else ("--out", tmp_path / "out", *option)
        said = " ".join(call("audit", f"folder:{other}", *arguments, code=1).output.split())
        assert says in said, said
    assert not (tmp_path / "out" / "state").exists()
