"""What README.md says is what happens: its code blocks are run, in order, in one folder.

Two liberties are taken, both here to be seen. Sizes are made small (`SMALLER`), so that the
commands end in seconds. And `quick_start.py` is only parsed: it would install an environment and,
with `--test`, run these tests again.
"""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")

SMALLER = {"--count": "18", "--size": "64", "--max-minutes": "0.1"}
SMALLER_TRAINING = (
    "--set model.arguments.width=8 --set image.size=64 --set training.samples_per_epoch=16 "
    "--set training.epochs=2"
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language and its lines."""

    language: str
    text: str


BLOCKS = [
    Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
]
COMMANDS = [
    line for block in BLOCKS if block.language == "bash" for line in block.text.splitlines() if line
]


def small(line):
    """Give the arguments of a `penumbra` command, made small, its wildcards still in it."""
    words = shlex.split(line, comments=True)
    for option, value in SMALLER.items():
        if option in words:
            words[words.index(option) + 1] = value
    if words[:2] == ["penumbra", "train"]:
        words += shlex.split(SMALLER_TRAINING)
    return words[1:]


def run(arguments, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_penumbra(line, folder):
    words = []
    for word in small(line):
        found = sorted(map(str, folder.glob(word))) if "*" in word else [word]
        assert found, f"{word} of {line!r} matches nothing"
        words += found
    return run(["-m", "penumbra", *words], folder)


@pytest.mark.slow
def test_the_blocks_run_in_order(tmp_path):
    for block in BLOCKS:
        if block.language == "python":
            assert run(["-c", block.text], tmp_path).strip(), block.text
            continue
        for line in block.text.splitlines():
            if line.startswith("penumbra "):
                run_penumbra(line, tmp_path)
    # What the text under the commands promises.
    assert (tmp_path / "results/first/report.html").stat().st_size > 10_000
    assert len(list((tmp_path / "predictions").glob("*_mask.png"))) == 18


def test_every_command_is_one_that_is_run_or_parsed():
    assert COMMANDS
    for line in COMMANDS:
        assert line.startswith(("penumbra ", "python quick_start.py")), line
    assert {block.language for block in BLOCKS} == {"bash", "python"}


def test_quick_start_lines_parse():
    specification = importlib.util.spec_from_file_location("quick_start", ROOT / "quick_start.py")
    start = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(start)
    lines = [line for line in COMMANDS if line.startswith("python quick_start.py")]
    assert len(lines) >= 2
    assert any(start.parse(shlex.split(line)[2:]).test for line in lines)


def verbs_of_the_table():
    return sorted(set(re.findall(r"^\| `penumbra ([a-z-]+)", TEXT, re.MULTILINE)))


def test_the_verbs_named_are_the_verbs_that_exist():
    from typer.main import get_command

    from penumbra.cli.main import app

    assert verbs_of_the_table() == sorted(get_command(app).commands)


def test_planned_verbs_do_not_exist_yet():
    planned = re.search(r"^Planned, and not there yet: (.*?)\n\n", TEXT, re.MULTILINE | re.DOTALL)[
        1
    ]
    named = set(re.findall(r"`([a-z-]+)`", planned))
    assert named
    assert not named & set(verbs_of_the_table())


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#:]+)\)", TEXT))
def test_links_lead_to_files_that_exist(target):
    assert (ROOT / target).is_file()
