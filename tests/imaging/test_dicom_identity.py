"""Nothing that names a patient leaves a DICOM file unless it was asked for."""

import logging
import os
import pickle
import stat
import sys
import traceback
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penumbra.errors import ImageFileError, SettingsError
from penumbra.imaging.files import read_image

pydicom = pytest.importorskip("pydicom")

from penumbra.imaging.dicom import (  # noqa: E402
    identity,
    pseudonym,
    read_dicom,
    read_header,
)

PIXELS = np.arange(80, dtype=np.uint16).reshape(8, 10)
SECRETS = ("Doe", "Jane", "MRN-4711", "19700102")


def told(*things):
    return [secret for secret in SECRETS if any(secret in str(thing) for thing in things)]


def test_a_header_and_an_image_name_no_patient(make_dicom):
    path = make_dicom(PIXELS)
    header, image = read_header(path), read_dicom(path)
    assert not told(header, image, pickle.dumps(image), *image.notices)
    assert header.patient == image.patient == pseudonym("MRN-4711")
    assert header.patient.startswith("patient-")


def test_the_id_is_given_where_it_is_asked_for(make_dicom):
    path = make_dicom(PIXELS)
    assert read_header(path, keep_identifiers=True).patient == "MRN-4711"
    assert read_dicom(path, keep_identifiers=True).patient == "MRN-4711"


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_no_error_warning_or_log_quotes_a_damaged_file(make_dicom, caplog, data):
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    path = make_dicom(PIXELS, SpecificCharacterSet="ISO_IR 100")
    broken = bytearray(path.read_bytes())
    # Lengths and representations of the header's elements, where a value can run into another.
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(132, len(broken) - PIXELS.nbytes - 1))
        broken[place] = data.draw(st.integers(0, 255))
    path.write_bytes(broken)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        text = ""
        try:
            read_header(path)
            read_image(path)
        except ImageFileError as error:
            text = "".join(traceback.format_exception(error))
    assert not told(text, caplog.text, *(each.message for each in caught))


def test_pseudonyms_group_and_tell_ids_of_two_hospitals_apart(make_dicom):
    one = read_header(make_dicom(PIXELS, name="a.dcm"))
    two = read_header(make_dicom(PIXELS[::-1], name="b.dcm"))
    other = read_header(make_dicom(PIXELS, name="c.dcm", PatientID="MRN-4712"))
    elsewhere = read_header(make_dicom(PIXELS, name="d.dcm", IssuerOfPatientID="St. Elsewhere"))
    assert one.patient == two.patient
    assert len({one.patient, other.patient, elsewhere.patient}) == 3
    assert read_header(make_dicom(PIXELS, name="e.dcm", PatientID="")).patient == ""


def test_a_pseudonym_depends_on_the_key(monkeypatch):
    monkeypatch.setenv(identity.KEY_VARIABLE, "one key of enough letters")
    one = pseudonym("4711")
    assert pseudonym("4711") == one
    monkeypatch.setenv(identity.KEY_VARIABLE, "another key of that length")
    assert pseudonym("4711") != one
    monkeypatch.setenv(identity.KEY_VARIABLE, "short")
    with pytest.raises(SettingsError, match="at least 16 characters, but got 5"):
        pseudonym("4711")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.delenv(identity.KEY_VARIABLE)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


def test_the_key_is_made_once_and_is_its_owners_alone(home):
    name = pseudonym("4711")
    file = home / "penumbra" / "identity.key"
    assert identity.key_file() == file
    key = bytes.fromhex(file.read_text())
    assert len(key) == 32
    assert pseudonym("4711", key=key) == name
    if os.name == "posix":
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["identity.key"]


def test_a_key_that_is_there_already_is_taken(home):
    file = home / "penumbra" / "identity.key"
    file.parent.mkdir(parents=True)
    file.write_text("ab" * 32 + "\n")
    assert identity.identity_key() == b"\xab" * 32


def test_a_key_file_that_holds_something_else_is_refused(home):
    file = home / "penumbra" / "identity.key"
    file.parent.mkdir(parents=True)
    file.write_text("not a key")
    with pytest.raises(SettingsError, match="64 hexadecimal digits"):
        pseudonym("4711")


def test_without_a_place_for_the_key_names_last_for_the_process_and_the_log_says_so(home, caplog):
    home.write_text("a file where the folder should be")
    name = pseudonym("4711")
    assert pseudonym("4711") == name
    assert "for this process only" in caplog.text


def test_reading_pixels_asks_for_no_key(make_dicom, home):
    read_image(make_dicom(PIXELS))
    assert not home.exists()


def test_without_the_extra_the_error_names_it(make_dicom, monkeypatch):
    from penumbra.errors import MissingExtraError

    path = make_dicom(PIXELS)
    for name in [name for name in sys.modules if name.startswith("penumbra.imaging.dicom")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    with pytest.raises(MissingExtraError, match=r"penumbra-segmentation\[dicom\]"):
        read_image(path)
