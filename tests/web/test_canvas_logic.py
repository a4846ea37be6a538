"""The browser side without a browser: its types by tsc, its logic by node's own test runner."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WEB = ROOT / "src" / "penumbra" / "web"
UI = ROOT / "src" / "penumbra" / "serving" / "ui"
TESTS = sorted(Path(__file__).parent.glob("*.test.mjs"))
FILES = sorted(
    path
    for folder in (WEB, UI)
    for path in folder.rglob("*")
    if path.suffix in (".js", ".css", ".html")
)


def _needed(found, what):
    if found is not None:
        return str(found)
    if os.environ.get("PENUMBRA_REQUIRE_BROWSER") == "1":
        pytest.fail(f"PENUMBRA_REQUIRE_BROWSER=1, but there is no {what}")
    pytest.skip(f"there is no {what}")


def _node():
    return _needed(shutil.which("node"), "node on the path")


def _tsc():
    named = os.environ.get("PENUMBRA_TSC")
    places = [Path(named)] if named else [ROOT / "node_modules" / ".bin" / "tsc"]
    found = next((place for place in places if place.exists()), None)
    return _needed(found, "tsc: `npm install`, or PENUMBRA_TSC with its path")


def _run(*command):
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.name)
def test_the_logic_holds(path):
    done = _run(_node(), "--test", str(path))
    assert done.returncode == 0, done.stdout[-6000:]
    passed = re.search(r"^# pass (\d+)$", done.stdout, re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) >= 10


def test_the_types_hold():
    done = _run(_tsc(), "--project", "jsconfig.json")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_types_are_checked_at_all(tmp_path):
    (tmp_path / "wrong.js").write_text("export const one = 1;\none.two;\n", encoding="utf-8")
    settings = (ROOT / "jsconfig.json").read_text(encoding="utf-8")
    (tmp_path / "jsconfig.json").write_text(
        settings.replace("src/penumbra/web/**/*.js", "*.js"), encoding="utf-8"
    )
    done = _run(_tsc(), "--project", str(tmp_path / "jsconfig.json"))
    assert done.returncode != 0
    assert "wrong.js" in done.stdout


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(WEB.parent).as_posix())
def test_no_file_is_long_or_looks_outside(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    found = re.findall(r"""(?:https?:)?//[a-z0-9-]+\.[a-z]{2,}""", text)
    assert not found
    assert "innerHTML" not in text
    assert "eval(" not in text


def test_a_script_has_types_and_says_what_it_is_for():
    scripts = [path for path in FILES if path.suffix == ".js"]
    assert UI / "canvas_host.js" in scripts
    for path in scripts:
        assert path.read_text(encoding="utf-8").startswith("/**"), path
