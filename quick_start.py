#!/usr/bin/env python3
"""Make an environment beside this file, install Penumbra into it, and do the main job.

    python quick_start.py                          segment a generated set of images, and show it
    python quick_start.py --data folder:my_photos  the same on your own images
    python quick_start.py --test                   install what the tests need, and run them

The environment is `.venv` in this folder. A stamp in it remembers what was installed, so that a
second start installs nothing. Nothing outside this folder and `--out` is written.

Only the standard library is used here, and only syntax that an old Python can read: otherwise it
would die of a syntax error before it could say which Python it needs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MINIMUM_PYTHON = (3, 11)
ROOT = Path(__file__).resolve().parent
STAMP = "quick_start.json"
LOG = "quick_start.log"

# What pip says when something is wrong, and what a person can do about it. First match wins.
ADVICE = (
    (
        r"No space left|Errno 28|not enough space",
        "freeing disk space (some 3 GB, or 8 GB where torch brings CUDA), then the same command",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED|SSLError|SSLCertVerificationError",
        "setting PIP_CERT to your network's CA bundle (a .pem file), then the same command",
    ),
    (
        r"NewConnectionError|Timeout|ProxyError|resolution|getaddrinfo|unreachable|refused|reset",
        "connecting to the network, then the same command; else see docs/how-to/offline.md",
    ),
    (
        r"Requires-Python|No matching distribution|Could not find a version",
        "Python 3.11 to 3.13 on Linux, Windows or an ARM Mac; else see docs/how-to/offline.md",
    ),
    (
        r"Permission denied|Errno 13|Access is denied",
        "closing programs that use .venv, or a copy of this folder that you may write to",
    ),
)
DEFAULT_ADVICE = "removing the folder .venv, then the same command again"


class QuickStartError(Exception):
    """Something that the user can put right; the text says how."""


def python_message(version: Sequence[int]) -> str | None:
    """Say what is wrong with this version of Python, or nothing when it will do."""
    if tuple(version[:2]) >= MINIMUM_PYTHON:
        return None
    needed = ".".join(map(str, MINIMUM_PYTHON))
    found = ".".join(map(str, version[:3]))
    return (
        f"Expected Python to be {needed} or newer, but got {found} ({sys.executable}). "
        f"Try python{needed} quick_start.py, or install a newer Python first."
    )


def say(text: str) -> None:
    """Tell the user what is going on, at once even when the output is a pipe."""
    print(text, flush=True)


# --- the environment ------------------------------------------------------------------------


def venv_python(venv: Path, windows: bool = os.name == "nt") -> Path:  # noqa: FBT001
    """Give the path of the environment's interpreter on this system."""
    return venv / "Scripts" / "python.exe" if windows else venv / "bin" / "python"


def fingerprint(root: Path) -> str:
    """Hash all that decides what gets installed: the two files, and where the package lies."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        # Text, so that another line ending after a checkout is not another environment.
        digest.update((root / name).read_text(encoding="utf-8").encode())
        digest.update(b"\0")
    digest.update(str(root).encode())
    return digest.hexdigest()


def clean_environment() -> dict[str, str]:
    """Give this process's variables, less those that would point at another Python's packages."""
    return {k: v for k, v in os.environ.items() if k not in {"PYTHONHOME", "PYTHONPATH"}}


def read_stamp(venv: Path) -> tuple[str, list[str]]:
    """Give the hash and the extras of the last installation that ended well; empty if none."""
    try:
        stamp = json.loads((venv / STAMP).read_text(encoding="utf-8"))
        return str(stamp["fingerprint"]), [str(extra) for extra in stamp["extras"]]
    except (OSError, ValueError, KeyError, TypeError):
        return "", []


def write_stamp(venv: Path, digest: str, extras: Sequence[str]) -> None:
    """Remember an installation that ended well; whole or not at all."""
    beside = venv / (STAMP + ".part")
    stamp = {"fingerprint": digest, "extras": sorted(extras)}
    beside.write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
    beside.replace(venv / STAMP)


def missing_extras(venv: Path, digest: str, extras: Sequence[str]) -> list[str] | None:
    """Say which extras an installation has to have, or nothing when all of it is there.

    Extras that were installed before stay: otherwise a plain start after `--test` would let the
    tests' packages grow old.
    """
    stamped, have = read_stamp(venv)
    if venv_python(venv).exists() and stamped == digest and set(extras) <= set(have):
        return None
    return sorted(set(extras) | set(have))


def runs(python: Path, code: str) -> bool:
    """Say whether this interpreter starts and runs this line."""
    try:
        done = subprocess.run([str(python), "-c", code], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def make_venv(venv: Path) -> None:
    """Make the environment, or mend one whose interpreter or pip is gone."""
    python = venv_python(venv)
    if runs(python, "import pip"):
        command = []
    elif runs(python, "import sys"):
        command = [str(python), "-m", "ensurepip", "--default-pip"]
    else:
        say(f"Making an environment in {venv}")
        command = [sys.executable, "-m", "venv", "--clear", str(venv)]
    if command:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise QuickStartError(
                f"Expected `{' '.join(command)}` to make an environment, but got:\n"
                f"{(done.stdout + done.stderr).strip()}\n"
                "Try installing Python's venv module (Debian and Ubuntu: apt install "
                "python3-venv), then the same command again."
            )
    needed = ", ".join(map(str, MINIMUM_PYTHON))
    if not runs(python, f"import sys; sys.exit(sys.version_info < ({needed}))"):
        raise QuickStartError(
            f"Expected the Python in {venv} to be {needed.replace(', ', '.')} or newer, but got an "
            "older one. Try removing that folder, then the same command again."
        )


def pip_command(venv: Path, extras: Sequence[str]) -> list[str]:
    """Give the command that installs the package and these extras, from the pinned set."""
    target = ".[{}]".format(",".join(extras)) if extras else "."
    command = [str(venv_python(venv)), "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", "--constraint", "constraints.txt", "--editable", target]
    return command


def worth_saying(line: str) -> str | None:
    """Pick from pip's many lines the few that tell a person why it takes so long."""
    size = re.match(r"\s*(?:Downloading|Using cached) (\S+) \((([\d.]+) ([MG])B)\)", line)
    if size and (size.group(4) == "G" or float(size.group(3)) >= 10):
        return f"  {size.group(1).split('/')[-1]} ({size.group(2)})"
    if line.startswith("Installing collected packages:"):
        return f"  unpacking {line.count(',') + 1} packages"
    return None


def advice_for(log: str) -> str:
    """Find what to do about a failed installation in what pip said."""
    for pattern, advice in ADVICE:
        if re.search(pattern, log):
            return advice
    return DEFAULT_ADVICE


def install(root: Path, venv: Path, extras: Sequence[str]) -> None:
    """Install the package and these extras, saying what is large; the whole log is kept."""
    lines: list[str] = []
    with subprocess.Popen(
        pip_command(venv, extras),
        cwd=str(root),
        env=dict(clean_environment(), PYTHONIOENCODING="utf-8"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as pip:
        for line in pip.stdout or ():
            lines.append(line)
            news = worth_saying(line)
            if news:
                say(news)
    (venv / LOG).write_text("".join(lines), encoding="utf-8")
    if pip.returncode != 0:
        raise QuickStartError(
            f"Expected pip to install everything, but got exit code {pip.returncode}:\n"
            f"{''.join(lines[-12:])}\n(all that pip said is in {venv / LOG})\n"
            f"Try {advice_for(''.join(lines))}."
        )


def prepare(root: Path, venv: Path, extras: Sequence[str]) -> bool:
    """See to it that the environment has these extras; say whether anything was installed."""
    digest = fingerprint(root)
    wanted = missing_extras(venv, digest, extras)
    if wanted is None:
        return False
    started = time.monotonic()
    make_venv(venv)
    say("Installing Penumbra and what it needs; the first time takes some minutes")
    install(root, venv, wanted)
    write_stamp(venv, digest, wanted)
    say(f"Installed in {time.monotonic() - started:.0f} s; the next start installs nothing")
    return True


# --- the job --------------------------------------------------------------------------------


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line; what follows `--` goes to pytest."""
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    own, rest = arguments[:cut], arguments[cut + 1 :]
    parser = argparse.ArgumentParser(
        prog="quick_start.py",
        description="From a folder of images to a trained, evaluated segmenter, in one command.",
        epilog="After --test, arguments that follow -- go to pytest: --test -- -k split.",
    )
    parser.add_argument("--data", metavar="LAYOUT:PATH", help="your images; else a generated set")
    parser.add_argument("--target", help="what to segment, where a layout offers several things")
    parser.add_argument(
        "--out", type=Path, default=Path("quick_start_output"), metavar="DIR", help="results"
    )
    parser.add_argument("--minutes", type=float, metavar="M", help="how long to train at most")
    parser.add_argument("--seed", type=int, metavar="N", help="where all randomness starts")
    parser.add_argument(
        "--no-app", action="store_true", help="stop after the report, without opening the pages"
    )
    parser.add_argument("--test", action="store_true", help="run the tests instead")
    options = parser.parse_args(own)
    if rest and not options.test:
        parser.error("arguments after -- go to pytest, so they need --test before the --")
    if options.minutes is not None and not 0 < options.minutes < float("inf"):
        parser.error(f"--minutes has to be above 0, but is {options.minutes}")
    if options.seed is not None and options.seed < 0:
        parser.error(f"--seed has to be 0 or above, but is {options.seed}")
    options.pytest = list(rest)
    return options


def extras_of(options: argparse.Namespace) -> list[str]:
    """Say what has to be installed beside the core."""
    if options.test:
        return ["test"]
    return [] if options.no_app else ["serve", "ui"]


def job_command(python: Path, options: argparse.Namespace) -> list[str]:
    """Give the command that does the main job; options left out keep the verb's own defaults."""
    command = [str(python), "-m", "penumbra", "quick-start", "--out", str(options.out)]
    for name in ("data", "target", "minutes", "seed"):
        value = getattr(options, name)
        if value is not None:
            command += [f"--{name}", str(value)]
    return command


def newest_run(out: Path) -> Path | None:
    """Give the run folder that the job wrote last."""
    found = {
        int(folder.name[len("run-") :]): folder / "run"
        for folder in out.glob("run-*")
        if folder.name[len("run-") :].isdigit() and (folder / "run").is_dir()
    }
    return found[max(found)] if found else None


def serve_command(python: Path, run: Path) -> list[str]:
    """Give the command that serves a run and opens its pages; on any free port."""
    return [str(python), "-m", "penumbra", "serve", str(run), "--port", "0", "--open"]


def test_command(python: Path, options: argparse.Namespace) -> list[str]:
    """Give the command that runs the tests, in as many processes as there are cores, at most 4."""
    processes = max(1, min(4, os.cpu_count() or 1))
    spread = ["-n", str(processes), "--dist", "loadfile"]
    return [str(python), "-m", "pytest", *spread, *options.pytest]


def run_to_its_end(command: Sequence[str], where: str | None = None) -> int:
    """Run a command and give its exit code; at Ctrl+C it is left to end by itself.

    The terminal tells the command too, which then keeps or answers what it has; whoever presses
    twice does not want to wait for that.
    """
    with subprocess.Popen(command, cwd=where, env=clean_environment()) as process:
        asked = 0
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                asked += 1
                if asked > 1:
                    process.terminate()


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line asks, and give the exit code."""
    wrong = python_message(sys.version_info[:3])
    if wrong:
        print(wrong, file=sys.stderr)
        return 2
    options = parse(sys.argv[1:] if arguments is None else arguments)
    venv = ROOT / ".venv"
    python = venv_python(venv)
    try:
        prepare(ROOT, venv, extras_of(options))
    except (QuickStartError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    command = test_command(python, options) if options.test else job_command(python, options)
    # Tests run from the root, where their settings are; the job runs where the user stands, so
    # that relative paths mean what they look like.
    where = str(ROOT) if options.test else None
    code = run_to_its_end(command, where)
    run = None if code or options.test or options.no_app else newest_run(options.out)
    if run is None:
        return code
    say("Opening the pages; Ctrl+C ends them, --no-app leaves them out.")
    return run_to_its_end(serve_command(python, run))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
