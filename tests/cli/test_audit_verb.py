"""The verb audit: a source as its first word, files in its folder, and apply beside it."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from penumbra.cli.main import app


def invoke(*arguments):
    return CliRunner().invoke(app, ["audit", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "some set"
    rng = np.random.default_rng(0)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for index in range(4):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8))
        coarse.resize((40, 40)).save(root / "images" / f"{index}.png")
        mask = np.zeros((40, 40), np.uint8)
        mask[10:20, 10 : 20 + index] = 255
        Image.fromarray(mask).save(root / "masks" / f"{index}.png")
    return root


def copy(folder, name, of, mask):
    (folder / "images" / f"{name}.png").write_bytes((folder / "images" / f"{of}.png").read_bytes())
    Image.fromarray(mask).save(folder / "masks" / f"{name}.png")


def test_a_clean_set_exits_with_zero_and_three_lines(folder, tmp_path):
    result = invoke(f"folder:{folder}", "--out", tmp_path / "audit")
    assert result.exit_code == 0, result.output
    assert "4 images: 0 pairs of duplicates" in result.output
    assert sorted(path.name for path in (tmp_path / "audit").iterdir()) == [
        *("findings.json", "pairs.parquet", "report.html", "samples.parquet", "state"),
    ]


def test_options_may_come_first_and_a_conflict_exits_with_one(folder, tmp_path):
    copy(folder, "again", 0, np.zeros((40, 40), np.uint8))
    result = invoke("--out", tmp_path / "audit", "--workers", 1, "--json", folder)
    assert result.exit_code == 1, result.output
    document = json.loads(result.stdout)
    assert document["summary"]["pairs"] == {"bytes": 1, "pixels": 0, "near": 0}
    assert document["findings"][0]["kind"] == "one-empty-mask"
    assert document["findings"][0]["details"]["dice"] == 0.0
    found = json.loads((tmp_path / "audit" / "findings.json").read_text(encoding="utf-8"))
    assert found == document["findings"]
    assert '<code id="command">penumbra' in (tmp_path / "audit" / "report.html").read_text(
        encoding="utf-8"
    )


def test_a_manifest_says_what_leaks(folder, tmp_path):
    copy(folder, "again", 0, np.zeros((40, 40), np.uint8))
    manifest = tmp_path / "manifest.csv"
    result = CliRunner().invoke(
        app, ["split", f"folder:{folder}", "--out", str(manifest), "--fractions", "0.6,0.2,0.2"]
    )
    assert result.exit_code in (0, 1), result.output
    lines = manifest.read_text(encoding="utf-8").splitlines()
    moved = [
        line.replace(",train,", ",test,") if line.startswith("again,")
        else line.replace(",test,", ",train,").replace(",val,", ",train,")
        for line in lines
    ]  # fmt: skip
    manifest.write_text("\n".join(moved) + "\n", encoding="utf-8")
    options = ("--manifest", manifest, "--json")
    document = json.loads(invoke(folder, "--out", tmp_path / "audit", *options).stdout)
    leaks = [finding for finding in document["findings"] if finding["kind"] == "leak"]
    assert [sorted(leak["samples"]) for leak in leaks] == [["0", "again"]]


def test_help_of_both_forms(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert "--threshold" in invoke("--help").output
    assert "--threshold" in invoke().output
    applied = invoke("apply", "--help").output
    assert "--decisions" in applied
    assert "--threshold" not in applied


def test_a_folder_called_like_a_sub_verb_is_reached(folder, tmp_path, monkeypatch):
    folder.rename(tmp_path / "apply")
    monkeypatch.chdir(tmp_path)
    assert invoke("./apply", "--out", "audit").exit_code == 0
    assert invoke("folder:apply", "--out", "audit").exit_code == 0


@pytest.mark.parametrize("extra", [("--threshold", "-1"), ("--threshold", "nan")])
def test_bad_settings_are_one_sentence(folder, tmp_path, extra):
    result = invoke(folder, "--out", tmp_path / "audit", *extra)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: Expected")
    assert "Traceback" not in result.output


def test_a_source_that_is_not_there(tmp_path):
    result = invoke(tmp_path / "nowhere", "--out", tmp_path / "audit")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: Expected")
    assert not (tmp_path / "audit").exists()


def test_a_run_judges_the_labels_that_it_never_saw(phantom, run, tmp_path):
    out = tmp_path / "audit"
    result = invoke(f"folder:{phantom}", "--out", out, "--run", run, "--json")
    document = json.loads(result.stdout)
    judged = json.loads((out / "labels.json").read_text(encoding="utf-8"))["images"]
    (inside,) = [f["samples"] for f in document["findings"] if f["kind"] == "in-fold"]
    assert judged
    assert len(judged) + len(inside) == 24
    assert not {image["id"] for image in judged} & set(inside)
    assert "Labels that a network doubts" in (out / "report.html").read_text(encoding="utf-8")
