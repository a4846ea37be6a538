"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


def _real_data_root() -> Path:
    default = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    return Path(os.environ.get("PENUMBRA_REAL_DATA", default))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; absent data skips, unless it is required."""
    root = _real_data_root()
    if root.is_dir():
        return root
    if os.environ.get("PENUMBRA_REQUIRE_REAL_DATA") == "1":
        pytest.fail(f"PENUMBRA_REQUIRE_REAL_DATA=1, but {root} is not a folder")
    pytest.skip(f"no real data at {root}")


@pytest.fixture(scope="session", autouse=True)
def identity_key():
    """Patients' pseudonyms need a key; tests make none in the home of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PENUMBRA_IDENTITY_KEY", "a key for the tests alone")
        yield
