"""Hundreds of damaged uploads against a real server: no 500, no crash, nothing left behind."""

import io
import json
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from penumbra.imaging.files import read_image
from penumbra.imaging.rle import encode_coco
from penumbra.inference.contract import load_predictor

RUN = "classical:otsu,foreground=bright"
COUNT = 540
BOUNDARY = b"penumbra-test"
REFUSED = {200, 400, 413, 415, 422}
GROWN = 96 * 2**20
"""Bytes that memory may grow by: buffers and caches of libraries, not 500 images."""


def pixels(seed=0):
    rows, columns = np.mgrid[:36, :44]
    inside = (rows - 17) ** 2 + (columns - 20) ** 2 < 80
    noise = np.random.default_rng(seed).normal(0, 9, inside.shape)
    return np.clip(np.where(inside, 190, 60) + noise, 0, 255).astype(np.uint8)


def dicom(grey):
    """A DICOM file that says whom it is of."""
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["penumbra"])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset("a.dcm", {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID = meta.MediaStorageSOPClassUID
    file.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    file.PatientName, file.PatientID = "SECRET^NAME", "SECRET-ID-77"
    file.Modality = "US"
    file.Rows, file.Columns = grey.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 8, 8, 7, 0
    file.PixelData = grey.tobytes()
    target = io.BytesIO()
    pydicom.dcmwrite(target, file, enforce_file_format=True)
    return target.getvalue()


def good_files():
    found = {}
    for name, options in (("PNG", {}), ("JPEG", {"quality": 90}),
                          ("TIFF", {"compression": "tiff_lzw"})):  # fmt: skip
        target = io.BytesIO()
        Image.fromarray(pixels()).save(target, format=name, **options)
        found[name] = target.getvalue()
    return found | {"DICOM": dicom(pixels())}


def form(file, *, fields=(), filename=b"../../etc/passwd"):
    head = b'--%s\r\nContent-Disposition: form-data; name="image"; filename="%s"\r\n\r\n'
    body = head % (BOUNDARY, filename) + file + b"\r\n"
    for name, value in fields:
        part = b'--%s\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
        body += part % (BOUNDARY, name, value)
    return body + b"--" + BOUNDARY + b"--\r\n"


def mutated(data, rng, *, most=12):
    """Damage bytes: exchange, cut off, cut out, repeat, exchange whole words."""
    damaged = bytearray(data)
    for _ in range(int(rng.integers(1, most))):
        at = int(rng.integers(0, max(1, len(damaged))))
        length = int(rng.integers(1, 16))
        kind = rng.integers(0, 6)
        if kind == 0 and damaged:
            damaged[at] ^= 1 << int(rng.integers(0, 8))
        elif kind == 1:
            damaged[at : at + length] = rng.bytes(length)
        elif kind == 2:
            del damaged[at : at + length]
        elif kind == 3:
            damaged[at:at] = damaged[at : at + length]
        elif kind == 4:
            words = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\x80\0\0\0")
            damaged[at : at + 4] = words[int(rng.integers(0, 4))]
        elif rng.random() < 0.4:
            del damaged[at:]
    return bytes(damaged)


def corpus():
    """Bodies, most with a damaged file in a whole form, the others with a damaged form."""
    rng = np.random.default_rng(20261)
    files = list(good_files().values())
    for number in range(COUNT):
        file = files[number % len(files)]
        kind = number // len(files) % 5
        if kind < 3:
            # Headers are where sizes and offsets are: damage them more often than pixels.
            head = int(rng.integers(16, len(file)))
            file = mutated(file[:head], rng) + file[head:] if kind else mutated(file, rng)
            yield form(file)
        elif kind == 3:
            yield mutated(form(file, fields=[(b"seed", b"1"), (b"outputs", b"mask")]), rng)
        else:
            name, value = rng.bytes(int(rng.integers(0, 20))), rng.bytes(int(rng.integers(0, 60)))
            yield form(file, fields=[(name, value)], filename=rng.bytes(8))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server in a process of its own: its address, its process, its log."""
    folder = tmp_path_factory.mktemp("serve")
    command = [sys.executable, "-m", "penumbra", "serve", RUN, "--port", "0", "--no-ui", "--json",
               "--threads", "1", "--max-queue", "64"]  # fmt: skip
    log = folder / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, cwd=folder)
    line = process.stdout.readline()
    assert line, log.read_text()
    yield json.loads(line)["studio"].rstrip("/"), process, log
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0, log.read_text()
    assert sorted(path.name for path in folder.iterdir()) == ["log"]


def post(client, body):
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}
    return client.post("/v1/segment", content=body, headers=headers)


def memory(process):
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    return sum(member.memory_info().rss for member in family)


def wanted(data, suffix, folder):
    """What the predictor says of the same file without any server."""
    path = folder / f"good.{suffix.lower()}"
    path.write_bytes(data)
    mask = load_predictor(RUN)([read_image(path)], seed=0)[0].mask
    return encode_coco(mask == 1)


def test_damaged_uploads_cost_nothing_but_themselves(server, tmp_path):
    address, process, log = server
    files = good_files()
    offline = {name: wanted(data, name, tmp_path) for name, data in files.items()}
    with httpx.Client(base_url=address, timeout=60) as client:
        for name, data in files.items():
            assert post(client, form(data)).json()["masks"][0]["rle"] == offline[name]
        workers = client.get("/readyz").json()["workers"]
        bodies = list(corpus())
        assert len(bodies) >= 500
        with ThreadPoolExecutor(3) as threads:
            # The first hundred warm caches up; what they need is not what one of them leaks.
            statuses = [r.status_code for r in threads.map(lambda b: post(client, b), bodies[:100])]
            before = memory(process)
            answers = list(threads.map(lambda b: post(client, b), bodies[100:]))
        statuses += [answer.status_code for answer in answers]
        assert set(statuses) <= REFUSED, sorted(set(statuses))
        assert statuses.count(422) > 50
        assert statuses.count(400) > 20
        for answer in answers:
            if answer.status_code != 200:
                assert answer.headers["content-type"] == "application/problem+json"
                assert "SECRET" not in answer.text
                assert "/tmp" not in answer.text
        assert memory(process) - before < GROWN
        after = client.get("/readyz").json()["workers"]
        assert [worker["pid"] for worker in after] == [worker["pid"] for worker in workers]
        for name, data in files.items():
            assert post(client, form(data)).json()["masks"][0]["rle"] == offline[name]
    said = log.read_text(encoding="utf-8", errors="replace")
    assert "SECRET" not in said
    assert "Traceback" not in said
    # What decoders have to say of damaged files is noise that anybody could make.
    assert said.count("\n") < 5, said


def test_sigterm_under_load_finishes_what_was_accepted(tmp_path):
    command = [sys.executable, "-m", "penumbra", "serve", RUN, "--port", "0", "--no-ui", "--json",
               "--threads", "1", "--max-queue", "64"]  # fmt: skip
    with (tmp_path / "log").open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
    address = json.loads(process.stdout.readline())["studio"].rstrip("/")
    large = io.BytesIO()
    Image.fromarray(np.kron(pixels(), np.ones((24, 24), np.uint8))).save(large, format="PNG")
    statuses, refused = [], []

    def ask(_):
        try:
            with httpx.Client(base_url=address, timeout=60) as client:
                statuses.append(post(client, form(large.getvalue())).status_code)
        except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError) as error:
            refused.append(error)

    with ThreadPoolExecutor(8) as threads:
        running = [threads.submit(ask, number) for number in range(60)]
        deadline = time.monotonic() + 60
        waiting = 0
        while (len(statuses) < 6 or waiting < 3) and time.monotonic() < deadline:
            answered = len(statuses)
            waiting = httpx.get(f"{address}/readyz", timeout=60).json()["queue"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, (tmp_path / "log").read_text()
        for one in running:
            one.result()
    assert set(statuses) <= {200, 503}
    assert waiting >= 3
    assert statuses.count(200) >= answered + waiting, "what waited was answered"
    assert refused, "requests after the signal are refused"
    assert not any(isinstance(error, httpx.ReadError) for error in refused)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/livez")
