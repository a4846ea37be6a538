"""quick_start.py: what it reads, what it remembers, what it says; nothing here needs a network."""

import ast
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def start():
    specification = importlib.util.spec_from_file_location("quick_start", ROOT / "quick_start.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def root(tmp_path):
    """A folder with the two files that decide what is installed."""
    (tmp_path / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    (tmp_path / "constraints.txt").write_text("numpy==2.0\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def venv(root, start):
    """A folder that looks like an environment with an interpreter in it."""
    python = start.venv_python(root / ".venv")
    python.parent.mkdir(parents=True)
    python.touch()
    return root / ".venv"


# --- the version of Python -------------------------------------------------------------------


def test_an_old_python_can_read_the_file_and_so_say_what_it_needs():
    text = (ROOT / "quick_start.py").read_text(encoding="utf-8")
    ast.parse(text, feature_version=(3, 7))


def test_only_the_standard_library_is_imported():
    tree = ast.parse((ROOT / "quick_start.py").read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.split(".")[0])
    assert names <= set(sys.stdlib_module_names) | {"__future__"}


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 9, 6), (3, 10, 14)])
def test_an_old_python_is_told_what_is_needed(start, version):
    message = start.python_message(version)
    assert message.startswith("Expected Python to be 3.11 or newer, but got ")
    assert ".".join(map(str, version)) in message
    assert "Try python3.11 quick_start.py" in message


@pytest.mark.parametrize("version", [(3, 11, 0), (3, 13, 2), (4, 0, 0)])
def test_a_new_python_is_told_nothing(start, version):
    assert start.python_message(version) is None


# --- the command line ------------------------------------------------------------------------


def test_without_arguments_the_verb_keeps_its_own_defaults(start):
    command = start.job_command(Path("py"), start.parse([]))
    assert command == ["py", "-m", "penumbra", "quick-start", "--out", "quick_start_output"]


def test_every_option_reaches_the_verb(start):
    arguments = "--data folder:photos --target lungs --out o --minutes 1.5 --seed 7 --no-app"
    command = start.job_command(Path("py"), start.parse(arguments.split()))
    expected = "py -m penumbra quick-start --out o --data folder:photos --target lungs"
    assert command == [*expected.split(), "--minutes", "1.5", "--seed", "7"]


def test_seed_zero_is_passed_on(start):
    assert start.job_command(Path("py"), start.parse(["--seed", "0"]))[-2:] == ["--seed", "0"]


def test_what_follows_two_dashes_goes_to_pytest(start):
    options = start.parse(["--test", "--", "-k", "split", "--", "-x"])
    command = start.test_command(Path("py"), options)
    assert command[:3] == ["py", "-m", "pytest"]
    assert command[-4:] == ["-k", "split", "--", "-x"]


def test_tests_run_in_a_few_processes_a_file_in_one_of_them(start, monkeypatch):
    monkeypatch.setattr(start.os, "cpu_count", lambda: 64)
    command = start.test_command(Path("py"), start.parse(["--test"]))
    assert command[3:] == ["-n", "4", "--dist", "loadfile"]


def test_the_newest_run_is_served(start, tmp_path):
    assert start.newest_run(tmp_path) is None
    for name in ("run-9", "run-10", "run-x"):
        (tmp_path / name / "run").mkdir(parents=True)
    (tmp_path / "run-11").mkdir()  # A job that was stopped before it trained.
    assert start.newest_run(tmp_path) == tmp_path / "run-10" / "run"
    assert start.serve_command(Path("py"), tmp_path)[2:] == [
        "penumbra", "serve", str(tmp_path), "--port", "0", "--open",
    ]  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="sends a signal to a group of processes")
def test_ctrl_c_lets_what_runs_end_by_itself():
    # The child takes a second to end, as a server does that answers what it accepted.
    child = (
        "import signal, sys, time\n"
        "def end(*_):\n    time.sleep(1)\n    print('ended', flush=True)\n    sys.exit(5)\n"
        "signal.signal(signal.SIGINT, end)\nprint('ready', flush=True)\ntime.sleep(60)\n"
    )
    parent = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import quick_start\n"
        f"sys.exit(quick_start.run_to_its_end([sys.executable, '-c', {child!r}]))\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True,
                          start_new_session=True) as process:  # fmt: skip
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout.readline() == "ended\n"
        assert process.wait(30) == 5


@pytest.mark.parametrize(
    ("arguments", "extras"), [([], ["serve", "ui"]), (["--no-app"], []), (["--test"], ["test"])]
)
def test_only_what_is_wanted_is_installed(start, arguments, extras):
    assert start.extras_of(start.parse(arguments)) == extras


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--", "-k", "split"], "need --test"),
        (["--minutes", "0"], "--minutes has to be above 0"),
        (["--minutes", "nan"], "--minutes has to be above 0"),
        (["--minutes", "inf"], "--minutes has to be above 0"),
        (["--seed", "-1"], "--seed has to be 0 or above"),
        (["--data"], "expected one argument"),
        (["--unknown"], "unrecognized arguments: --unknown"),
    ],
)
def test_a_bad_command_line_is_refused_with_a_reason(start, capsys, arguments, complaint):
    with pytest.raises(SystemExit) as stop:
        start.parse(arguments)
    assert stop.value.code == 2
    assert complaint in capsys.readouterr().err


def test_help_needs_no_environment():
    done = subprocess.run(
        [sys.executable, str(ROOT / "quick_start.py"), "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    for option in ("--data", "--target", "--out", "--no-app", "--test", "--minutes", "--seed"):
        assert option in done.stdout


# --- the stamp -------------------------------------------------------------------------------


def test_a_second_start_installs_nothing(start, root, venv):
    digest = start.fingerprint(root)
    start.write_stamp(venv, digest, [])
    assert start.missing_extras(venv, digest, []) is None
    assert start.prepare(root, venv, []) is False


def test_a_stamp_with_more_extras_will_do(start, root, venv):
    digest = start.fingerprint(root)
    start.write_stamp(venv, digest, ["test"])
    assert start.missing_extras(venv, digest, []) is None


def test_extras_that_were_installed_stay_when_others_are_added(start, root, venv):
    digest = start.fingerprint(root)
    start.write_stamp(venv, digest, ["docs"])
    assert start.missing_extras(venv, digest, ["test"]) == ["docs", "test"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_change_of_what_is_needed_installs_again(start, root, venv, name):
    start.write_stamp(venv, start.fingerprint(root), ["test"])
    (root / name).write_text("another = true\n", encoding="utf-8")
    assert start.missing_extras(venv, start.fingerprint(root), []) == ["test"]


def test_another_line_ending_is_not_a_change(start, root):
    before = start.fingerprint(root)
    (root / "constraints.txt").write_bytes(b"numpy==2.0\r\n")
    assert start.fingerprint(root) == before


def test_a_moved_folder_installs_again_since_the_install_points_at_the_old_place(start, root):
    moved = root / "moved"
    moved.mkdir()
    for name in ("pyproject.toml", "constraints.txt"):
        (moved / name).write_bytes((root / name).read_bytes())
    assert start.fingerprint(moved) != start.fingerprint(root)


def test_an_environment_without_interpreter_installs_again(start, root, venv):
    digest = start.fingerprint(root)
    start.write_stamp(venv, digest, [])
    start.venv_python(venv).unlink()
    assert start.missing_extras(venv, digest, []) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"extras": []}', '{"fingerprint": "a"}'])
def test_a_broken_stamp_counts_as_none(start, root, venv, text):
    (venv / start.STAMP).write_text(text, encoding="utf-8")
    assert start.read_stamp(venv) == ("", [])
    assert start.missing_extras(venv, start.fingerprint(root), ["test"]) == ["test"]


def test_the_stamp_is_readable_json_and_nothing_half_written_is_left(start, venv):
    start.write_stamp(venv, "abc", ["test", "docs"])
    stamp = json.loads((venv / start.STAMP).read_text(encoding="utf-8"))
    assert stamp == {"fingerprint": "abc", "extras": ["docs", "test"]}
    assert not list(venv.glob("*.part"))


# --- installing ------------------------------------------------------------------------------


def test_pip_gets_the_pinned_set_and_the_extras(start):
    command = start.pip_command(Path(".venv"), ["docs", "test"])
    assert command[1:4] == ["-m", "pip", "install"]
    assert command[command.index("--constraint") + 1] == "constraints.txt"
    assert command[-2:] == ["--editable", ".[docs,test]"]
    assert start.pip_command(Path(".venv"), [])[-1] == "."


def test_the_interpreter_lies_where_the_system_puts_it(start):
    assert start.venv_python(Path("v"), windows=True) == Path("v/Scripts/python.exe")
    assert start.venv_python(Path("v"), windows=False) == Path("v/bin/python")


def test_of_pips_many_lines_the_telling_ones_are_said(start):
    assert start.worth_saying("  Downloading torch.whl (190.7 MB)\n") == "  torch.whl (190.7 MB)"
    assert start.worth_saying("Using cached a/b/torch-2.whl (1.1 GB)") == "  torch-2.whl (1.1 GB)"
    assert start.worth_saying("Installing collected packages: a, b, c") == "  unpacking 3 packages"
    assert start.worth_saying("  Downloading six.whl (11 kB)") is None
    assert start.worth_saying("  Downloading idna.whl (1.2 MB)") is None
    assert start.worth_saying("Collecting torch") is None


@pytest.mark.parametrize(
    ("log", "advice"),
    [
        ("NewConnectionError: Temporary failure in name resolution", "connecting to the network"),
        ("OSError: [Errno 28] No space left on device", "freeing disk space"),
        ("SSLError(SSLCertVerificationError(1, ...", "PIP_CERT"),
        ("ERROR: Ignored the following versions that require a different Requires-Python", "3.11"),
        ("PermissionError: [Errno 13] Permission denied", "you may write to"),
        ("something that nobody has seen before", "removing the folder .venv"),
    ],
)
def test_a_failed_installation_says_what_to_do(start, log, advice):
    assert advice in start.advice_for(log)


def fake_pip(start, monkeypatch, code):
    """Let pip be a small program, so that what surrounds it can be seen without a network."""
    monkeypatch.setattr(start, "pip_command", lambda venv, extras: [sys.executable, "-c", code])
    monkeypatch.setattr(start, "make_venv", lambda venv: None)


def test_an_installation_that_fails_leaves_no_stamp(start, root, venv, monkeypatch):
    fake_pip(start, monkeypatch, "print('ERROR: NewConnectionError'); raise SystemExit(1)")
    with pytest.raises(start.QuickStartError, match="exit code 1") as error:
        start.prepare(root, venv, ["test"])
    assert "Try connecting to the network" in str(error.value)
    assert "NewConnectionError" in (venv / start.LOG).read_text(encoding="utf-8")
    assert start.read_stamp(venv) == ("", [])


def test_an_installation_that_ends_well_is_remembered(start, root, venv, monkeypatch, capsys):
    fake_pip(start, monkeypatch, "print('Downloading torch.whl (190.7 MB)')")
    assert start.prepare(root, venv, ["test"]) is True
    assert start.read_stamp(venv) == (start.fingerprint(root), ["test"])
    said = capsys.readouterr().out
    assert "torch.whl (190.7 MB)" in said
    assert "the next start installs nothing" in said
    assert start.prepare(root, venv, ["test"]) is False
    assert capsys.readouterr().out == ""


def test_an_environment_that_cannot_be_made_says_what_is_missing(start, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder", encoding="utf-8")
    with pytest.raises(start.QuickStartError, match="python3-venv"):
        start.make_venv(blocked / ".venv")


# --- the files beside it ---------------------------------------------------------------------


def test_the_pinned_set_is_exact_and_ties_nobody_to_a_platform():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert "torch==2.13.0" in pins
    for pin in pins:
        name, sign, version = pin.partition("==")
        assert sign == "==", pin
        assert version, pin
        assert "+" not in version, pin
        assert not name.lower().startswith(("nvidia", "triton", "penumbra")), pin


def test_everything_the_package_asks_for_is_pinned():
    def plain(requirement):
        return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-").replace(".", "-")

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [r for extra in project["optional-dependencies"].values() for r in extra]
    asked = {plain(r) for r in [*project["dependencies"], *extras]} - {project["name"]}
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert asked <= {plain(pin) for pin in pins if pin and not pin.startswith("#")}


def test_the_windows_file_and_conda_call_the_same_things():
    batch = (ROOT / "quick_start.bat").read_bytes().decode("ascii")
    assert 'quick_start.py" %*' in batch
    assert batch.count("\n") == batch.count("\r\n")
    conda = (ROOT / "environment.yml").read_text(encoding="utf-8")
    assert "--constraint constraints.txt" in conda
