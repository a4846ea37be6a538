"""Fetching over FTP, from a server in the test that cuts, changes, refuses and lies."""

import contextlib
import io
import socket
import socketserver
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from penumbra.data.download import Collection, RemoteFile, download
from penumbra.data.download.fetch import Patience, fetch
from penumbra.data.layouts import open_source
from penumbra.errors import DownloadError, SettingsError, StorageError

AT_ONCE = Patience(tries=3, pause=0.0, timeout=5.0)
MOST = 2**24


@dataclass
class Held:
    """A file of the server; `cuts` says how much each answer sends before it breaks off."""

    body: bytes
    time: str | None = "20200801000000"
    cuts: list[int] = field(default_factory=list)
    announce: int | None = None
    tells_size: bool = True
    rests: bool = True


@dataclass
class Place:
    url: str = ""
    files: dict[str, Held] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    greeting: list[str] = field(default_factory=list)
    host: str = "127,0,0,1"

    def put(self, name: str, body: bytes, **options: object) -> str:
        self.files[f"/{name}"] = Held(body, **options)  # type: ignore[arg-type]
        return f"{self.url}/{name}"

    @property
    def transfers(self) -> list[str]:
        return [line for line in self.asked if line.startswith(("REST", "RETR"))]


class Talk(socketserver.StreamRequestHandler):
    place: Place

    def say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())

    def handle(self) -> None:
        if self.place.greeting:
            self.say(self.place.greeting.pop(0))
            return
        self.listener, self.rest = None, 0
        self.say("220 ready")
        while line := self.rfile.readline().decode().rstrip("\r\n"):
            self.place.asked.append(line)
            verb, _, words = line.partition(" ")
            answer = getattr(self, f"on_{verb.lower()}", lambda _: self.say("502 what"))
            if answer(words) == "bye":
                return

    def finish(self) -> None:
        if getattr(self, "listener", None):
            self.listener.close()
        super().finish()

    def on_user(self, name: str) -> None:
        self.say("331 and the password" if name == "anonymous" else "530 nobody else")

    def on_pass(self, _: str) -> None:
        self.say("230 come in")

    def on_type(self, kind: str) -> None:
        self.say("200 so be it" if kind == "I" else "504 bytes only")

    def on_size(self, path: str) -> None:
        held = self.place.files.get(path)
        if held is None or not held.tells_size:
            self.say("550 no")
        else:
            self.say(f"213 {len(held.body) if held.announce is None else held.announce}")

    def on_mdtm(self, path: str) -> None:
        held = self.place.files.get(path)
        self.say(f"213 {held.time}" if held and held.time else "502 no clock")

    def on_pasv(self, _: str) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(5)
        port = self.listener.getsockname()[1]
        self.say(f"227 here ({self.place.host},{port // 256},{port % 256})")

    def on_rest(self, offset: str) -> None:
        if not all(held.rests for held in self.place.files.values()):
            self.say("502 only from the start")
            return
        self.rest = int(offset)
        self.say("350 and then")

    def on_retr(self, path: str) -> str | None:
        held = self.place.files.get(path)
        if held is None:
            self.say("550 \x1b[31mno such file")
            return None
        self.say("150 here it comes")
        connection, _ = self.listener.accept()
        left = held.body[self.rest :]
        with contextlib.suppress(OSError), connection:
            connection.sendall(left[: held.cuts[0]] if held.cuts else left)
        if held.cuts:
            held.cuts.pop(0)
            return "bye"
        self.say("226 done")
        return None


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        allow_reuse_address = True

    server = Server(("127.0.0.1", 0), type("Bound", (Talk,), {"place": made}))
    made.url = f"ftp://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


def noise(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def got(url: str, folder: Path, *, most: int = MOST) -> bytes:
    fetched = fetch(url, folder / "file.bin", max_bytes=most, patience=AT_ONCE)
    data = fetched.path.read_bytes()
    assert (fetched.n_bytes, fetched.sha256) == (len(data), sha256(data).hexdigest())
    assert [path.name for path in folder.iterdir()] == ["file.bin"]
    return data


def test_a_file_arrives_whole_and_passively(place: Place, tmp_path: Path) -> None:
    body = noise(3 * 2**20 + 17)
    assert got(place.put("sets/a%20b.zip".replace("%20", " "), body), tmp_path) == body
    assert "PASV" in place.asked
    assert not any(line.startswith(("PORT", "EPRT", "REST")) for line in place.asked)
    assert got(place.put("empty", b""), tmp_path) == b""


def test_a_cut_transfer_is_gone_on_with(place: Place, tmp_path: Path) -> None:
    body = noise(300_000)
    assert got(place.put("a", body, cuts=[100_000, 50_000]), tmp_path) == body
    assert place.transfers == ["RETR /a", "REST 100000", "RETR /a", "REST 150000", "RETR /a"]


def test_a_later_call_goes_on_and_a_whole_part_is_kept(place: Place, tmp_path: Path) -> None:
    body = noise(200_000)
    url = place.put("a", body, cuts=[120_000, 0, 0, 0])
    with pytest.raises(DownloadError, match=r"120,000 bytes and then.*the same command again"):
        got(url, tmp_path)
    place.files["/a"].cuts = [80_000]  # all of it, and then no last word
    assert got(url, tmp_path) == body
    assert place.transfers[-2:] == ["REST 120000", "RETR /a"]


@pytest.mark.parametrize(
    "change",
    [
        {"time": "20210801000000"},
        {"time": None},
        {"body": noise(60_000, seed=9)},  # shorter than what is there
        {"rests": False, "body": noise(200_000)},
    ],
)
def test_two_versions_are_never_mixed(place: Place, tmp_path: Path, change: dict) -> None:
    url = place.put("a", noise(200_000), cuts=[90_000, 0, 0, 0])
    with pytest.raises(DownloadError):
        got(url, tmp_path)
    body = change.get("body", noise(200_000, seed=7))
    place.put("a", **{"body": body} | change)
    assert got(url, tmp_path) == body


def test_the_data_come_from_the_server_itself(place: Place, tmp_path: Path) -> None:
    place.host = "192,0,2,1"  # whatever other machine it points to
    assert got(place.put("a", b"here"), tmp_path) == b"here"


def test_a_busy_server_is_asked_again_and_one_that_refuses_is_not(
    place: Place, tmp_path: Path
) -> None:
    place.greeting = ["421 too many", "421 too many"]
    assert got(place.put("a", b"x"), tmp_path) == b"x"
    with pytest.raises(DownloadError, match=r"550 \[31mno such file") as told:
        got(f"{place.url}/none", tmp_path)
    assert "\x1b" not in str(told.value)
    assert place.transfers.count("RETR /none") == 1
    place.greeting = ["530 go away"]
    with pytest.raises(DownloadError, match="530 go away"):
        got(f"{place.url}/a", tmp_path)
    place.greeting = ["421 too many"] * 9
    with pytest.raises(DownloadError, match="421"):
        got(f"{place.url}/a", tmp_path)


@pytest.mark.parametrize("tells_size", [True, False])
def test_more_than_allowed_is_refused(place: Place, tmp_path: Path, tells_size: bool) -> None:
    with pytest.raises(DownloadError, match="at most 1,000 bytes"):
        got(place.put("a", bytes(5_000_000), tells_size=tells_size), tmp_path, most=1000)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 1000


@pytest.mark.parametrize("announce", [5, 50])
def test_another_size_than_announced_is_not_whole(
    place: Place, tmp_path: Path, announce: int
) -> None:
    with pytest.raises(DownloadError, match="fetched whole"):
        got(place.put("a", noise(20), announce=announce), tmp_path)
    assert not (tmp_path / "file.bin").exists()


def test_without_a_size_the_last_word_counts(place: Place, tmp_path: Path) -> None:
    body = noise(5_000)
    assert got(place.put("a", body, tells_size=False, cuts=[2_000]), tmp_path) == body
    assert place.transfers == ["RETR /a", "RETR /a"]


@pytest.mark.parametrize(
    "address",
    [
        "ftp:///a",
        "ftp://me:secret@example.org/a",
        "ftp://example.org/",
        "ftp://x.org/a%0d%0aDELE b",
    ],
)
def test_odd_addresses_are_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(DownloadError, match="ftp://SERVER/FILE") as told:
        fetch(address, tmp_path / "a", max_bytes=MOST)
    assert "secret" not in str(told.value)


def test_a_full_disk_is_no_broken_connection(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").mkdir()
    with pytest.raises(StorageError):
        got(place.put("a", noise(100)), tmp_path)


def test_a_set_is_fetched_checked_unpacked_and_opened(place: Place, tmp_path: Path) -> None:
    picture, archive = io.BytesIO(), io.BytesIO()
    Image.fromarray(np.full((4, 5), 255, dtype=np.uint8)).save(picture, format="PNG")
    with zipfile.ZipFile(archive, "w") as file:
        for folder in ("images", "masks"):
            file.writestr(f"{folder}/a.png", picture.getvalue())
    body = archive.getvalue()
    collection = Collection(
        name="tiny",
        title="A set of one",
        homepage="https://example.org",
        licence="CC0",
        licence_url="https://example.org/licence",
        cite="nobody",
        layout="folder",
        files=(RemoteFile(url=place.put("a.zip", body, cuts=[100]), max_bytes=MOST),),
    )
    with pytest.raises(SettingsError, match="accept-licence"):
        download(collection, tmp_path / "set")
    assert place.asked == []
    done = download(collection, tmp_path / "set", accept_licence=True, patience=AT_ONCE)
    assert done.files["a.zip"].sha256 == sha256(body).hexdigest()
    assert open_source(f"folder:{done.out}")[0].mask.tolist() == [[1] * 5] * 4
    assert "REST 100" in place.asked
