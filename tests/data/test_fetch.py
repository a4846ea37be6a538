"""Fetching a file from a server that is cut, changed, busy or lying."""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from penumbra.data.download.fetch import Patience, check_web, fetch
from penumbra.errors import DownloadError

AT_ONCE = Patience(tries=3, pause=0.0, timeout=5.0)
MOST = 2**24


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def got(url: str, folder: Path, **options: object) -> bytes:
    options = {"max_bytes": MOST, "patience": AT_ONCE} | options
    fetched = fetch(url, folder / "file.bin", **options)  # type: ignore[arg-type]
    data = fetched.path.read_bytes()
    assert (fetched.n_bytes, fetched.sha256) == (len(data), sha256(data).hexdigest())
    assert [path.name for path in folder.iterdir()] == ["file.bin"]
    return data


def test_a_file_arrives_whole(site, tmp_path: Path) -> None:
    body = noise(3 * 2**20 + 17)
    assert got(site.put("a", body=body), tmp_path) == body
    assert got(site.put("empty", body=b""), tmp_path) == b""


@pytest.mark.parametrize("mark", [{}, {"tag": None, "date": "Sat, 01 Aug 2020 00:00:00 GMT"}])
def test_cut_connections_are_gone_on_with(site, tmp_path: Path, mark: dict) -> None:
    body = noise(300_000)
    assert got(site.put("a", body=body, cuts=[100_000, 50_000, 70_000], **mark), tmp_path) == body
    assert [asked for _, asked in site.asked] == [
        None,
        "bytes=100000-",
        "bytes=150000-",
        "bytes=220000-",
    ]


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(site, tmp_path: Path) -> None:
    body = noise(200_000)
    url = site.put("a", body=body, cuts=[120_000, 0, 0, 0])
    with pytest.raises(DownloadError, match=r"120,000 bytes and then.*the same command again"):
        got(url, tmp_path)
    assert (tmp_path / "file.bin.part").stat().st_size == 120_000
    site.pages["/a"].cuts = []
    assert got(url, tmp_path) == body
    assert site.asked[-1] == ("/a", "bytes=120000-")


def test_a_part_that_was_whole_already_is_kept(site, tmp_path: Path) -> None:
    body = noise(5_000)
    url = site.put("a", body=body)
    (tmp_path / "file.bin.part").write_bytes(body)
    (tmp_path / "file.bin.part.json").write_text(json.dumps({"url": url, "validator": '"v1"'}))
    assert got(url, tmp_path) == body


@pytest.mark.parametrize(
    "change",
    [
        {"tag": '"v2"'},  # another version: the server sends all of it
        {"tag": '"v1"', "body": noise(60_000, seed=9)},  # shorter than what is there
        {"ranges": False},
    ],
)
def test_two_versions_are_never_mixed(site, tmp_path: Path, change: dict) -> None:
    url = site.put("a", body=noise(200_000), cuts=[90_000, 0, 0, 0])
    with pytest.raises(DownloadError):
        got(url, tmp_path)
    body = change.get("body", noise(200_000, seed=7))
    site.put("a", **{"body": body} | change)
    assert got(url, tmp_path) == body


def test_without_a_mark_a_cut_file_begins_anew(site, tmp_path: Path) -> None:
    body = noise(50_000)
    assert got(site.put("a", body=body, tag='W/"weak"', cuts=[20_000]), tmp_path) == body
    assert {asked for _, asked in site.asked} == {None}


def test_a_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not(
    site, tmp_path: Path
) -> None:
    assert got(site.put("a", body=b"x", statuses=[503, 429]), tmp_path) == b"x"
    site.asked.clear()
    with pytest.raises(DownloadError, match="404"):
        fetch(f"{site.url}/none", tmp_path / "b", max_bytes=9, patience=AT_ONCE)
    assert len(site.asked) == 1
    with pytest.raises(DownloadError, match="503"):
        fetch(site.put("c", statuses=[503] * 9), tmp_path / "c", max_bytes=9, patience=AT_ONCE)


@pytest.mark.parametrize("page", [{"body": bytes(1001)}, {"endless": True}])
def test_more_than_allowed_is_refused(site, tmp_path: Path, page: dict) -> None:
    with pytest.raises(DownloadError, match="at most 1,000 bytes"):
        got(site.put("a", **page), tmp_path, max_bytes=1000)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 10_000


def test_a_file_shorter_than_announced_is_not_whole(site, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="fetched whole"):
        got(site.put("a", body=b"abc", announce=10, tag=None), tmp_path)
    assert not (tmp_path / "file.bin").exists()


def test_redirects_stay_on_the_web(site, tmp_path: Path) -> None:
    site.put("a", body=b"here")
    assert got(site.put("moved", to=f"{site.url}/a"), tmp_path) == b"here"
    for place in ("file:///etc/hostname", "ftp://127.0.0.1/a", "data:,x"):
        with pytest.raises(DownloadError, match="http"):
            fetch(site.put("x", to=place), tmp_path / "x", max_bytes=MOST, patience=AT_ONCE)
    with pytest.raises(DownloadError):
        fetch(site.put("o", to=f"{site.url}/o"), tmp_path / "o", max_bytes=9, patience=AT_ONCE)
    with pytest.raises(DownloadError, match="one of https"):
        check_web("http://example.org/a", only_https=True)


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "sftp://example.org/a", "a.zip", "data:,x"]
)
def test_other_addresses_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="http or https"):
        fetch(url, tmp_path / "a", max_bytes=MOST)
