"""A web server on this machine that cuts, changes and lies as a test wants it to."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


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
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Site("")
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"site": made}))
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    server.shutdown()
    server.server_close()
    thread.join()
