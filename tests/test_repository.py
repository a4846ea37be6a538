"""House rules that no linter holds: how long files are, what is named how, what is told to whom."""

import ast
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "penumbra"
SOURCES = sorted(PACKAGE.rglob("*.py"))
PYTHON = [
    *SOURCES,
    *sorted((ROOT / "tests").rglob("*.py")),
    *sorted((ROOT / "benchmarks").rglob("*.py")),
    ROOT / "quick_start.py",
]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def lines_in(path):
    return len(path.read_text(encoding="utf-8").splitlines())


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def repository_files():
    """Every file that is in the repository, or is about to be; no build results, no environment."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


# --- size ------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_no_file_is_over_400_lines(path):
    assert lines_in(path) <= 400


def test_the_median_file_is_short():
    lengths = [lines_in(path) for path in SOURCES if path.name != "__init__.py"]
    assert statistics.median(lengths) <= 180


def test_nine_functions_in_ten_are_under_45_lines():
    lengths = [
        node.end_lineno - node.lineno + 1
        for path in SOURCES
        for node in ast.walk(tree_of(path))
        if isinstance(node, Function)
    ]
    short = sum(length < 45 for length in lengths)
    assert short >= 0.9 * len(lengths)


# --- names and places ------------------------------------------------------------------------


def test_no_module_is_named_for_nothing():
    forbidden = {"utils", "util", "helpers", "helper", "misc", "common", "stuff"}
    assert not [name_of(path) for path in SOURCES if forbidden & {path.stem, path.parent.name}]


def rooms():
    folders = sorted(path for path in PACKAGE.iterdir() if path.is_dir())
    return [
        folder.name
        for folder in folders
        if any(lines_in(path) > 1 for path in folder.rglob("*.py") if path.name != "__init__.py")
    ]


@pytest.mark.parametrize("room", rooms())
def test_every_room_has_tests(room):
    assert list((ROOT / "tests" / room).glob("test_*.py"))


def test_test_files_have_names_of_their_own():
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert len(names) == len(set(names))


# --- words -----------------------------------------------------------------------------------


def public_definitions(path):
    """Give (name, node) of a module's public classes, functions and methods."""
    waiting = [("", tree_of(path))]
    while waiting:
        prefix, parent = waiting.pop()
        for node in parent.body:
            if not isinstance(node, (ast.ClassDef, *Function.__args__)):
                continue
            if node.name.startswith("_"):
                continue
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                waiting.append((f"{prefix}{node.name}.", node))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_everything_public_has_a_docstring(path):
    bare = [name for name, node in public_definitions(path) if not ast.get_docstring(node)]
    assert not bare
    if path.name != "__init__.py":
        assert ast.get_docstring(tree_of(path)), "the module itself"


def test_the_library_prints_nothing():
    loud = [
        f"{name_of(path)}:{node.lineno}"
        for path in SOURCES
        if PACKAGE / "cli" not in path.parents
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]
    assert not loud


def test_no_random_numbers_from_a_global_state():
    legacy = re.compile(
        r"np\.random\.(seed|rand|randn|randint|random|choice|shuffle|normal|uniform)\b"
        r"|\btorch\.(manual_seed|seed)\(|^import random|\bseed_everything\("
    )
    found = []
    for path in SOURCES:
        before = ""
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            # Inside a fork the caller's state comes back afterwards.
            if legacy.search(line) and "fork_rng(" not in before:
                found.append(f"{name_of(path)}:{number}")
            before = line
    assert not found


def test_no_file_names_a_package_registry_or_a_path_of_one_machine():
    # Joined here, so that this file does not name them either.
    dot = "."
    hosts = [
        dot.join(parts)
        for parts in (
            ("pypi", "org"),
            ("files", "pythonhosted"),
            ("download", "pytorch"),
            ("registry", "npmjs"),
            ("deb", "debian"),
            ("conda", "anaconda"),
        )
    ]
    slash = "/"
    paths = [slash + "work" + slash, slash + "root" + slash]
    found = []
    for path in repository_files():
        text = path.read_bytes().decode("utf-8", errors="replace")
        found += [f"{name_of(path)}: {word}" for word in [*hosts, *paths] if word in text]
    assert not found


def test_no_real_image_is_in_the_repository():
    pictures = {".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".bmp", ".gif", ".png"}
    allowed = (ROOT / "docs" / "images", ROOT / "tests")
    strays = [
        name_of(path)
        for path in repository_files()
        if path.suffix.lower() in pictures and not any(place in path.parents for place in allowed)
    ]
    assert not strays


# --- what starts fast, stays fast ------------------------------------------------------------


def test_the_command_line_loads_nothing_heavy_before_it_is_needed():
    heavy = ("torch", "cv2", "pandas", "matplotlib", "lightning", "monai", "kornia", "scipy")
    code = f"import sys, penumbra.cli.main; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"


# --- decisions and changes -------------------------------------------------------------------


def decisions():
    return sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))


def test_decisions_are_numbered_without_gaps():
    numbers = [int(path.name[:4]) for path in decisions()]
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("path", decisions(), ids=name_of)
def test_a_decision_says_what_was_rejected(path):
    text = path.read_text(encoding="utf-8")
    for heading in ("## Context", "## Decision", "## Rejected", "## Consequences"):
        assert heading in text
    assert re.search(r"^Status: (accepted|superseded by \d{4})", text, re.MULTILINE)


def test_the_changelog_knows_this_version():
    from penumbra.version import __version__

    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in text
    assert __version__ in text
