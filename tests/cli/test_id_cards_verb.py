"""`dataset make id-cards` from the outside."""

import json

import cv2
import numpy as np
from typer.testing import CliRunner

from penumbra.cli.main import app
from penumbra.data.layouts import open_source


def make(*words: object):
    return CliRunner().invoke(app, ["dataset", "make", "id-cards", *map(str, words)])


def test_a_set_is_made_and_the_next_step_is_told(tmp_path):
    out = tmp_path / "cards"
    done = make("--out", out, "--count", 4, "--frame", "64x114", "--seed", 2)
    assert done.exit_code == 0, done.output
    assert "4 photographs of 64×114 pixels" in done.output
    assert f"Next: penumbra split folder:{out}" in done.output
    assert len(open_source(f"folder:{out}")) == 4


def test_an_unreadable_ground_is_told_and_stops_nothing(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    cv2.imwrite(str(photos / "good.png"), np.full((64, 64, 3), 90, np.uint8))
    (photos / "torn.png").write_bytes((photos / "good.png").read_bytes()[:50])
    size = ("--count", 2, "--frame", "64x64")
    done = make("--out", tmp_path / "set", *size, "--backgrounds", photos, "--json")
    assert done.exit_code == 1
    document = json.loads(done.stdout)
    assert document["backgrounds"] == 1
    assert "torn.png" in document["findings"][0]
    assert len(open_source(f"folder:{tmp_path / 'set'}")) == 2


def test_bad_input_is_answered_in_one_sentence(tmp_path):
    for words in (("--frame", "wide"), ("--frame", "10x10"), ("--geometry", tmp_path / "no.json")):
        done = make("--out", tmp_path / "set", "--count", 1, *words)
        assert done.exit_code == 1
        assert "error: Expected" in done.output
        assert not (tmp_path / "set").exists()


def test_an_earlier_set_is_replaced_only_where_it_is_said(tmp_path):
    out = tmp_path / "set"
    small = ("--out", out, "--count", 1, "--frame", "64x64")
    assert make(*small).exit_code == 0
    before = {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()}
    again = make(*small, "--seed", 5)
    assert again.exit_code == 1
    assert "one that holds an earlier set. Try --force" in again.output
    assert {file.name: file.read_bytes() for file in out.iterdir() if file.is_file()} == before
    assert make(*small, "--seed", 5, "--force").exit_code == 0
    assert json.loads((out / "id_cards.json").read_text())["seed"] == 5
    phantom = ["dataset", "make", "phantom", "--count", "1", "--size", "32", "--out", str(out)]
    assert CliRunner().invoke(app, phantom).exit_code == 1
