"""A phantom set and a run on it, small enough to train in seconds."""

import pytest
from typer.testing import CliRunner

from penumbra.cli.main import app
from penumbra.data.phantom import make_phantom


@pytest.fixture(scope="session")
def quick():
    """Options of a training of seconds."""
    return [
        "--set", "image.size=32", "--set", "training.samples_per_epoch=32",
        "--set", "training.threads=1",
        "--width", "4", "--epochs", "2",
    ]  # fmt: skip


@pytest.fixture(scope="session")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "set"
    make_phantom(folder, count=24, size=40, seed=1, kinds=("ultrasound", "xray"))
    return folder


@pytest.fixture(scope="session")
def run(phantom, quick, tmp_path_factory):
    out = tmp_path_factory.mktemp("cli") / "run"
    result = CliRunner().invoke(app, ["train", f"folder:{phantom}", "--out", str(out), *quick])
    assert result.exit_code == 0, result.output
    return out
