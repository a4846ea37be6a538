"""Downloads against a server on this machine: cut, changed, lying, hostile."""

import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from penumbra.cli.main import app
from penumbra.data.download import COLLECTIONS, Collection, RemoteFile, catalogue, download
from penumbra.data.download.fetch import Patience, check_web, fetch
from penumbra.data.download.unpack import UnpackLimits, unpack
from penumbra.data.layouts import LAYOUTS, open_source
from penumbra.errors import DownloadError, SettingsError, StorageError

AT_ONCE = Patience(tries=3, pause=0.0, timeout=5.0)
MOST = 2**24


@dataclass
class Served:
    """One address of the server.

    `cuts` holds how many bytes each answer sends before the connection breaks; when it is used
    up, answers are whole.
    """

    body: bytes = b""
    tag: str | None = '"v1"'
    date: str | None = None
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    to: str | None = None
    ranges: bool = True
    announce: int | None = None
    endless: bool = False


@dataclass
class Site:
    url: str
    pages: dict[str, Served] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def put(self, name: str, **options: object) -> str:
        self.pages[f"/{name}"] = Served(**options)  # type: ignore[arg-type]
        return f"{self.url}/{name}"


class Handler(BaseHTTPRequestHandler):
    site: Site
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        page = self.site.pages.get(self.path)
        self.site.asked.append((self.path, self.headers.get("Range")))
        self.close_connection = True
        if page is None:
            self.send_error(404)
        elif page.statuses:
            self.send_error(page.statuses.pop(0))
        elif page.to is not None:
            self.send_response(302)
            self.send_header("Location", page.to)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.answer(page)

    def answer(self, page: Served) -> None:
        start = self.start_of(page)
        if start is not None and start >= len(page.body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(page.body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        rest = page.body[start or 0 :]
        self.send_response(200 if start is None else 206)
        if start is not None:
            whole = len(page.body)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        if page.tag:
            self.send_header("ETag", page.tag)
        if page.date:
            self.send_header("Last-Modified", page.date)
        if not page.endless:
            self.send_header("Content-Length", str(page.announce or len(rest)))
        self.end_headers()
        if page.endless:
            self.pour()
        else:
            self.wfile.write(rest[: page.cuts.pop(0)] if page.cuts else rest)

    def start_of(self, page: Served) -> int | None:
        asked, mark = self.headers.get("Range"), self.headers.get("If-Range")
        if not page.ranges or asked is None or mark not in (page.tag, page.date):
            return None
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def pour(self) -> None:
        try:
            for _ in range(1000):
                self.wfile.write(bytes(2**16))
        except OSError:
            pass


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": made}))
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def got(url: str, folder: Path, **options: object) -> bytes:
    options = {"max_bytes": MOST, "patience": AT_ONCE} | options
    fetched = fetch(url, folder / "file.bin", **options)  # type: ignore[arg-type]
    data = fetched.path.read_bytes()
    assert (fetched.n_bytes, fetched.sha256) == (len(data), sha256(data).hexdigest())
    assert [path.name for path in folder.iterdir()] == ["file.bin"]
    return data


def test_a_file_arrives_whole(site: Site, tmp_path: Path) -> None:
    body = noise(3 * 2**20 + 17)
    assert got(site.put("a", body=body), tmp_path) == body
    assert got(site.put("empty", body=b""), tmp_path) == b""


@pytest.mark.parametrize("mark", [{}, {"tag": None, "date": "Sat, 01 Aug 2020 00:00:00 GMT"}])
def test_cut_connections_are_gone_on_with(site: Site, tmp_path: Path, mark: dict) -> None:
    body = noise(300_000)
    assert got(site.put("a", body=body, cuts=[100_000, 50_000, 70_000], **mark), tmp_path) == body
    assert [asked for _, asked in site.asked] == [
        None,
        "bytes=100000-",
        "bytes=150000-",
        "bytes=220000-",
    ]


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(site: Site, tmp_path: Path) -> None:
    body = noise(200_000)
    url = site.put("a", body=body, cuts=[120_000, 0, 0, 0])
    with pytest.raises(DownloadError, match=r"120,000 bytes and then.*the same command again"):
        got(url, tmp_path)
    assert (tmp_path / "file.bin.part").stat().st_size == 120_000
    site.pages["/a"].cuts = []
    assert got(url, tmp_path) == body
    assert site.asked[-1] == ("/a", "bytes=120000-")


def test_a_part_that_was_whole_already_is_kept(site: Site, tmp_path: Path) -> None:
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
def test_two_versions_are_never_mixed(site: Site, tmp_path: Path, change: dict) -> None:
    url = site.put("a", body=noise(200_000), cuts=[90_000, 0, 0, 0])
    with pytest.raises(DownloadError):
        got(url, tmp_path)
    body = change.get("body", noise(200_000, seed=7))
    site.put("a", **{"body": body} | change)
    assert got(url, tmp_path) == body


def test_without_a_mark_a_cut_file_begins_anew(site: Site, tmp_path: Path) -> None:
    body = noise(50_000)
    assert got(site.put("a", body=body, tag='W/"weak"', cuts=[20_000]), tmp_path) == body
    assert {asked for _, asked in site.asked} == {None}


def test_a_server_that_is_busy_is_asked_again_and_one_that_refuses_is_not(
    site: Site, tmp_path: Path
) -> None:
    assert got(site.put("a", body=b"x", statuses=[503, 429]), tmp_path) == b"x"
    site.asked.clear()
    with pytest.raises(DownloadError, match="404"):
        fetch(f"{site.url}/none", tmp_path / "b", max_bytes=9, patience=AT_ONCE)
    assert len(site.asked) == 1
    with pytest.raises(DownloadError, match="503"):
        fetch(site.put("c", statuses=[503] * 9), tmp_path / "c", max_bytes=9, patience=AT_ONCE)


@pytest.mark.parametrize("page", [{"body": bytes(1001)}, {"endless": True}])
def test_more_than_allowed_is_refused(site: Site, tmp_path: Path, page: dict) -> None:
    with pytest.raises(DownloadError, match="at most 1,000 bytes"):
        got(site.put("a", **page), tmp_path, max_bytes=1000)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 10_000


def test_a_file_shorter_than_announced_is_not_whole(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="fetched whole"):
        got(site.put("a", body=b"abc", announce=10, tag=None), tmp_path)
    assert not (tmp_path / "file.bin").exists()


def test_redirects_stay_on_the_web(site: Site, tmp_path: Path) -> None:
    site.put("a", body=b"here")
    assert got(site.put("moved", to=f"{site.url}/a"), tmp_path) == b"here"
    for place in ("file:///etc/hostname", "ftp://127.0.0.1/a", "data:,x"):
        with pytest.raises(DownloadError, match="http"):
            fetch(site.put("x", to=place), tmp_path / "x", max_bytes=MOST, patience=AT_ONCE)
    with pytest.raises(DownloadError):
        fetch(site.put("o", to=f"{site.url}/o"), tmp_path / "o", max_bytes=9, patience=AT_ONCE)
    with pytest.raises(DownloadError, match="one of https"):
        check_web("http://example.org/a", only_https=True)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://example.org/a", "a.zip", "data:,x"])
def test_other_addresses_are_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadError, match="http or https"):
        fetch(url, tmp_path / "a", max_bytes=MOST)


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def tarred(members: list[tuple[tarfile.TarInfo, bytes]], mode: str = "w:gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for info, data in members:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def unpacked(data: bytes, folder: Path, **options: object) -> dict[str, bytes]:
    archive = folder / "archive"
    archive.write_bytes(data)
    unpack(archive, folder / "out", **options)  # type: ignore[arg-type]
    return {
        path.relative_to(folder / "out").as_posix(): path.read_bytes()
        for path in (folder / "out").rglob("*")
        if path.is_file()
    }


FILES = {"a/b/1.txt": b"one", "a/2.txt": b"two", "c d/é🧠.txt": b"three"}


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_archives_of_every_kind_are_unpacked(tmp_path: Path, mode: str) -> None:
    pairs = [(member(name), data) for name, data in FILES.items()]
    data = zipped(FILES) if mode == "zip" else tarred(pairs, mode)
    assert unpacked(data, tmp_path) == FILES
    assert unpacked(data, tmp_path, within="a") == FILES | {"b/1.txt": b"one", "2.txt": b"two"}


def test_a_folder_inside_is_found_by_a_wildcard_and_extras_stay_out(tmp_path: Path) -> None:
    held = {"top-1/in/x": b"x", "top-1/other": b"", "__MACOSX/top-1/in/x": b"", "top-1/in/.ds": b""}
    assert unpacked(zipped(held), tmp_path, within="*/in") == {"x": b"x"}
    with pytest.raises(DownloadError, match="files in nowhere"):
        unpacked(zipped(held), tmp_path, within="nowhere")


def link_in_zip() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("a/link")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return out.getvalue()


def encrypted() -> bytes:
    data = bytearray(zipped({"a": b"secret"}))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    return bytes(data)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "up": lambda: zipped({"fine": b"", "../up": b"x"}),
    "up inside": lambda: zipped({"a/../../up": b"x"}),
    "root": lambda: zipped({"/up": b"x"}),
    "backslash": lambda: zipped({"..\\up": b"x"}),
    "drive": lambda: zipped({"C:/up": b"x"}),
    "nul": lambda: zipped({"up": b"x"}).replace(b"up", b"u\0"),
    "zip link": link_in_zip,
    "encrypted": encrypted,
    "same but for case": lambda: zipped({"A/x": b"1", "a/X": b"2"}),
    "file and folder": lambda: zipped({"a": b"1", "a/b": b"2"}),
    "folder and file": lambda: zipped({"a/b": b"1", "a": b"2"}),
    "tar up": lambda: tarred([(member("../up"), b"x")]),
    "tar root": lambda: tarred([(member("/up"), b"x")]),
    "tar up folder": lambda: tarred([(member("../up", tarfile.DIRTYPE), b"")]),
    "tar symbolic": lambda: tarred([(member("a", tarfile.SYMTYPE, "/etc"), b"")]),
    "tar hard": lambda: tarred([(member("a", tarfile.LNKTYPE, "../up"), b"")]),
    "tar device": lambda: tarred([(member("a", tarfile.CHRTYPE), b"")]),
    "tar pipe": lambda: tarred([(member("a", tarfile.FIFOTYPE), b"")]),
    "text": lambda: b"<html>Not found</html>",
    "nothing": lambda: b"",
    "cut zip": lambda: zipped({"a": noise(9000)})[:4000],
    "cut tar": lambda: tarred([(member("a"), noise(90_000))])[:40_000],
    "cut bz2": lambda: tarred([(member("a"), noise(90_000))], "w:bz2")[:40_000],
    "cut xz": lambda: tarred([(member("a"), noise(90_000))], "w:xz")[:40_000],
    "wrong sum": lambda: zipped({"a": b"abc" * 999}).replace(b"PK\x01\x02", b"PK\x01\x03"),
    "empty zip": lambda: zipped({}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_and_broken_archives_are_refused_whole(tmp_path: Path, kind: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(DownloadError, match="Expected"):
        unpacked(HOSTILE[kind](), tmp_path / "in")
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == [tmp_path / "in" / "archive"]


@pytest.mark.parametrize("mode", ["zip", "w:gz"])
def test_bombs_are_stopped(tmp_path: Path, mode: str) -> None:
    zeros = bytes(40 * 2**20)
    data = zipped({"a": zeros}) if mode == "zip" else tarred([(member("a"), zeros)])
    with pytest.raises(DownloadError, match="bytes once unpacked"):
        unpacked(data, tmp_path)
    assert unpacked(data, tmp_path, limits=UnpackLimits(max_ratio=2000)) == {"a": zeros}
    many = zipped({f"f{number}": b"" for number in range(60)})
    with pytest.raises(DownloadError, match="at most 20 files"):
        unpacked(many, tmp_path, limits=UnpackLimits(max_files=20))


def picture(value: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((4, 5), value, dtype=np.uint8)).save(out, format="PNG")
    return out.getvalue()


def folder_set(stem: str = "a") -> bytes:
    return zipped({f"set/images/{stem}.png": picture(9), f"set/masks/{stem}.png": picture(255)})


def made(*files: RemoteFile) -> Collection:
    return Collection(
        name="tiny",
        title="A set of one",
        homepage="https://example.org",
        licence="CC0",
        licence_url="https://example.org/licence",
        cite="nobody",
        layout="folder",
        files=files,
    )


def remote(url: str, **options: object) -> RemoteFile:
    return RemoteFile(url=url, max_bytes=MOST, within="set", **options)  # type: ignore[arg-type]


def brought(collection: Collection, out: Path, **options: object):
    return download(collection, out, accept_licence=True, patience=AT_ONCE, **options)


def test_a_set_is_fetched_checked_unpacked_and_opened(site: Site, tmp_path: Path) -> None:
    body = folder_set()
    collection = made(remote(site.put("a.zip", body=body, cuts=[100])))
    out = tmp_path / "set"
    first = brought(collection, out)
    assert first.new == ("a.zip",)
    assert first.files["a.zip"].sha256 == sha256(body).hexdigest()
    assert not first.files["a.zip"].official
    assert open_source(f"{first.layout}:{out}")[0].mask.tolist() == [[1] * 5] * 4
    assert sorted(path.name for path in out.iterdir()) == [".download.json", "images", "masks"]
    site.asked.clear()
    assert brought(collection, out).new == ()
    assert site.asked == []


def test_nothing_is_fetched_before_the_licence_is_accepted(site: Site, tmp_path: Path) -> None:
    collection = made(remote(site.put("a.zip", body=folder_set())))
    with pytest.raises(SettingsError, match="accept-licence"):
        download(collection, tmp_path / "set")
    assert site.asked == []
    assert not (tmp_path / "set").exists()


def test_a_published_hash_is_checked(site: Site, tmp_path: Path) -> None:
    body = folder_set()
    url = site.put("a.zip", body=body)
    with pytest.raises(DownloadError, match="as its makers publish it"):
        brought(made(remote(url, sha256="0" * 64)), tmp_path / "set")
    assert not (tmp_path / "set" / "images").exists()
    right = made(remote(url, sha256=sha256(body).hexdigest()))
    assert brought(right, tmp_path / "set").files["a.zip"].official


def test_a_file_that_changed_since_the_first_time_is_refused(site: Site, tmp_path: Path) -> None:
    collection, out = made(remote(site.put("a.zip", body=folder_set()))), tmp_path / "set"
    brought(collection, out)
    record = json.loads((out / ".download.json").read_text())
    record["files"]["a.zip"]["unpacked"] = 0  # as if it had been stopped while it unpacked
    (out / ".download.json").write_text(json.dumps(record))
    site.put("a.zip", body=folder_set("b"), tag='"v2"')
    with pytest.raises(DownloadError, match="if its makers say that they changed it"):
        brought(collection, out)
    site.put("a.zip", body=folder_set())
    assert brought(collection, out).new == ("a.zip",)


def test_one_bad_archive_among_several_is_a_finding(site: Site, tmp_path: Path) -> None:
    urls = [
        site.put("a.zip", body=folder_set("a")),
        f"{site.url}/gone.zip",
        site.put("evil.zip", body=HOSTILE["up"]()),
        site.put("b.zip", body=folder_set("b")),
    ]
    result = brought(made(*map(remote, urls)), tmp_path / "set")
    assert result.new == ("a.zip", "b.zip")
    assert [finding.samples for finding in result.findings] == [("gone.zip",), ("evil.zip",)]
    assert len(open_source(f"folder:{tmp_path / 'set'}")) == 2
    assert not (tmp_path / "up").exists()


def test_some_of_the_archives_can_be_chosen_and_kept(site: Site, tmp_path: Path) -> None:
    files = [remote(site.put(f"{n}.zip", body=folder_set(n)), into=n) for n in "ab"]
    result = brought(made(*files), tmp_path / "set", only=["b"], keep_archives=True)
    assert result.new == ("b.zip",)
    assert (tmp_path / "set/b/images/b.png").is_file()
    assert (tmp_path / "set/.archives/b.zip").is_file()
    with pytest.raises(SettingsError, match="some of a, b"):
        brought(made(*files), tmp_path / "other", only=["c"])


def test_archives_fetched_by_hand_are_taken_and_left_alone(tmp_path: Path) -> None:
    hand = tmp_path / "hand"
    hand.mkdir()
    (hand / "a.zip").write_bytes(folder_set())
    collection = made(remote("ftp://example.org/a.zip"), remote("ftp://example.org/b.zip"))
    with pytest.raises(DownloadError, match=r"curl -C - -O ftp://example.org/a.zip"):
        brought(collection, tmp_path / "set")
    result = brought(collection, tmp_path / "set", by_hand=hand)
    assert result.new == ("a.zip",)
    assert [finding.samples for finding in result.findings] == [("b.zip",)]
    assert (hand / "a.zip").read_bytes() == folder_set()
    assert len(open_source(f"folder:{tmp_path / 'set'}")) == 1


def test_other_folders_are_left_alone(site: Site, tmp_path: Path) -> None:
    collection = made(remote(site.put("a.zip", body=folder_set())))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(StorageError, match="left alone"):
        brought(collection, tmp_path / "mine")
    (tmp_path / "mine" / ".download.json").write_text("{}")
    with pytest.raises(StorageError, match="a record of downloads"):
        brought(collection, tmp_path / "mine")
    (tmp_path / "mine" / ".download.json").write_text('{"name": "other", "files": {}}')
    with pytest.raises(StorageError, match="that of other"):
        brought(collection, tmp_path / "mine")
    assert site.asked == []


def test_the_catalogue_is_whole() -> None:
    names = [collection.name for collection in COLLECTIONS]
    assert {"midv500", "midv2019", "camvid", "dsb2018"} <= set(names)
    assert len(set(names)) == len(names)
    layouts = {layout.name for layout in LAYOUTS}
    for collection in COLLECTIONS:
        assert collection.layout in layouts
        assert collection.licence
        assert collection.licence_url.startswith("https://")
        assert len({file.name for file in collection.files}) == len(collection.files)
        assert all(file.is_web or file.url.startswith("ftp://") for file in collection.files)
    with pytest.raises(SettingsError, match="Try `midv500`"):
        catalogue.collection_named("midv-500")


def test_the_verb_shows_the_licence_and_asks(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = made(remote(site.put("a.zip", body=folder_set())))
    monkeypatch.setattr(catalogue, "COLLECTIONS", (collection,))
    words = ["dataset", "download", "tiny", "--out", str(tmp_path / "set")]
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 1
    assert "Licence: CC0. https://example.org/licence" in refused.output
    done = CliRunner().invoke(app, [*words, "--accept-licence", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["new"] == ["a.zip"]
    listed = CliRunner().invoke(app, ["dataset", "download", "--json"])
    assert "camvid" in {each["name"] for each in json.loads(listed.stdout)["collections"]}
