"""The verb serve: what it refuses, and what it says once it is ready."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import httpx
import pytest
from typer.testing import CliRunner

from penumbra.cli.main import app


def refused(*arguments):
    result = CliRunner().invoke(app, ["serve", *map(str, arguments), "--json"])
    assert result.exit_code == 1, result.output
    error = json.loads(result.stdout.splitlines()[0])["error"]
    assert "Try " in error["message"]
    return error["message"]


def test_what_cannot_be_served_is_said_at_once(tmp_path):
    assert "RUN" in refused()
    assert "--api-key-file" in refused("classical:otsu", "--host", "0.0.0.0")
    assert "given once" in refused("a=classical:otsu", "a=classical:adaptive")
    keys = tmp_path / "keys"
    keys.write_text("short\n")
    assert "line 1" in refused("classical:otsu", "--api-key-file", keys)


def test_a_port_that_is_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "--port 0" in refused("classical:otsu", "--port", port, "--no-ui")


@pytest.mark.slow
def test_a_run_that_cannot_be_loaded_ends_the_server(tmp_path):
    command = [sys.executable, "-m", "penumbra", "serve", str(tmp_path / "none"), "--port", "0",
               "--no-ui", "--json"]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 1, result.stderr
    assert json.loads(result.stdout.splitlines()[0])["error"]["type"] == "ModelError"
    assert "Traceback" not in result.stderr


@pytest.mark.slow
def test_the_factory_reads_the_environment():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "--factory", "penumbra.serving.app:create_app",
               "--port", str(port), "--no-access-log"]  # fmt: skip
    environment = os.environ | {
        "PENUMBRA_RUNS": "cells=classical:otsu,foreground=bright",
        "PENUMBRA_UI": "0",
    }
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert any("Uvicorn running" in line for line in process.stderr)
        assert httpx.get(f"http://127.0.0.1:{port}/livez").status_code == 200
        models = _once_ready(f"http://127.0.0.1:{port}")
        assert [model["name"] for model in models] == ["cells"]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def _once_ready(address):
    deadline = time.monotonic() + 90
    with httpx.Client(base_url=address, timeout=60) as client:
        while time.monotonic() < deadline:
            answer = client.get("/v1/models")
            if answer.status_code == 200:
                return answer.json()["models"]
            assert answer.status_code == 503
            time.sleep(0.05)
    pytest.fail("the models were not loaded")
