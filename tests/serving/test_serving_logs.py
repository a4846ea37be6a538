"""What is logged: nothing that a damaged file says, and no request that nobody asked to log."""

import contextlib
import io
import logging
import subprocess
import sys
import warnings

import numpy as np
import pytest
import tifffile

from penumbra.serving.logs import servers_as_they_are, silence_decoders
from penumbra.serving.uploads import UploadError, UploadLimits, decode


def test_decoders_say_nothing_of_damaged_files(caplog, capfd):
    silence_decoders()
    target = io.BytesIO()
    tifffile.imwrite(target, np.zeros((9, 9), np.uint8), description="Jane Doe")
    whole = target.getvalue()
    for end in range(8, len(whole), 11):
        with contextlib.suppress(UploadError):
            decode(whole[:end], UploadLimits())
    for name in ("tifffile", "pydicom", "pydicom.pixels", "PIL.PngImagePlugin", "python_multipart"):
        logging.getLogger(name).error("Jane Doe")
    with pytest.warns(UserWarning, match="ours"):
        warnings.warn("ours", UserWarning, stacklevel=1)
    said = capfd.readouterr()
    assert "Jane" not in caplog.text + said.out + said.err


def test_decoders_that_are_imported_later_say_nothing_either():
    # In an interpreter of its own, where pydicom has not been imported: it sets its own level.
    program = """
import logging, sys
from penumbra.serving.logs import silence_decoders
silence_decoders()
silence_decoders()
assert "pydicom" not in sys.modules
import pydicom.config
assert logging.getLogger("pydicom").level == logging.WARNING
for name in ("pydicom", "pydicom.pixels.decoders.base"):
    logging.getLogger(name).error("Jane Doe")
logging.basicConfig()
logging.getLogger("pydicom").error("Jane Doe")
logging.getLogger("ours").error("heard")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "Jane" not in done.stdout + done.stderr
    assert "heard" in done.stderr


def test_logs_of_servers_stay_as_they_are():
    access = logging.getLogger("uvicorn.access")
    before = (access.level, access.propagate, list(access.handlers))
    with servers_as_they_are():
        access.setLevel(logging.INFO)
        access.propagate = not access.propagate
        access.addHandler(logging.StreamHandler())
    assert (access.level, access.propagate, access.handlers) == before
