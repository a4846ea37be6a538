"""A client for load tests on this machine: plain HTTP/1.1 over asyncio, cheap enough to stay out
of the way of the server that shares its cores."""  # noqa: D205, D209 - one sentence

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

BOUNDARY = b"penumbra-load-test"


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, object]:
        """Read the body."""
        found: dict[str, object] = json.loads(self.body)
        return found


def post_image(path: str, image: bytes, fields: dict[str, str], *, field_name: str) -> bytes:
    """Write a whole POST of one image as multipart."""
    parts = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
        % (BOUNDARY, name.encode(), value.encode())
        for name, value in fields.items()
    ]
    head = b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="a.png"\r\n'
    parts.append(head % (BOUNDARY, field_name.encode()))
    parts.append(b"Content-Type: image/png\r\n\r\n%b\r\n--%b--\r\n" % (image, BOUNDARY))
    body = b"".join(parts)
    start = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY.decode()}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return start.encode() + body


class Connection:
    """One connection, kept open as long as the server keeps it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> Reply:
        """Send a request and read its answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self.port)
        reader, writer = self._streams
        writer.write(request)
        with contextlib.suppress(ConnectionError):
            await writer.drain()  # A refusal may come before the whole request has gone.
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {}
        for line in head[1:]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        reply = Reply(int(head[0].split()[1]), headers, body)
        if headers.get("connection", "").lower() == "close":
            self.close()
        return reply

    def close(self) -> None:
        """Let go of the connection."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


@dataclass
class Tally:
    """What became of the requests of a run.

    Attributes:
        asked: how many there were.
        latencies: seconds of each accepted request.
        refused: how many got 429.
        without_retry: how many of these did not say when to come back.
        lost: how many got no answer at all.
        odd: statuses other than 200 and 429.
        swapped: how many answers were not what the offline predictor gives for their image.
        seconds: from the first request to the last answer.
    """

    asked: int = 0
    latencies: list[float] = field(default_factory=list)
    refused: int = 0
    without_retry: int = 0
    lost: int = 0
    odd: list[int] = field(default_factory=list)
    swapped: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Accepted requests per second."""
        return len(self.latencies) / self.seconds

    @property
    def unaccounted(self) -> int:
        """Requests of which nothing is known; 0 unless the counting is wrong."""
        return self.asked - len(self.latencies) - self.refused - self.lost - len(self.odd)

    def percentile(self, share: float) -> float:
        """Latency in seconds below which that share lies."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


Check = Callable[[int, Reply], bool]


async def _one(
    connection: Connection, requests: Sequence[bytes], number: int, tally: Tally, check: Check
) -> None:
    index, began = number % len(requests), time.perf_counter()
    tally.asked += 1
    try:
        reply = await connection.ask(requests[index])
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
        tally.lost += 1
        connection.close()
        return
    if reply.status == 200:
        tally.latencies.append(time.perf_counter() - began)
        tally.swapped += not _holds(check, index, reply)
    elif reply.status == 429:
        tally.refused += 1
        tally.without_retry += "retry-after" not in reply.headers
    else:
        tally.odd.append(reply.status)


def _holds(check: Check, index: int, reply: Reply) -> bool:
    try:
        return check(index, reply)
    except (LookupError, TypeError, ValueError):
        return False  # Not even an answer.


async def closed_loop(
    port: int, requests: Sequence[bytes], check: Check, *, clients: int, seconds: float
) -> Tally:
    """Let some clients ask, each as soon as it was answered."""
    tally, numbers = Tally(), iter(range(10**9))
    began = time.perf_counter()

    async def client() -> None:
        connection = Connection(port)
        while time.perf_counter() - began < seconds:
            await _one(connection, requests, next(numbers), tally, check)
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    tally.seconds = time.perf_counter() - began
    return tally


async def open_loop(
    port: int, requests: Sequence[bytes], check: Check, *, rate: float, seconds: float
) -> Tally:
    """Ask at a fixed rate, whether earlier requests were answered or not."""
    tally, idle = Tally(), list[Connection]()
    began = time.perf_counter()

    async def one(number: int) -> None:
        connection = idle.pop() if idle else Connection(port)
        await _one(connection, requests, number, tally, check)
        idle.append(connection)

    tasks = []
    for number in range(int(rate * seconds)):
        left = began + number / rate - time.perf_counter()
        if left > 0:
            await asyncio.sleep(left)
        tasks.append(asyncio.create_task(one(number)))
    await asyncio.gather(*tasks)
    for connection in idle:
        connection.close()
    tally.seconds = time.perf_counter() - began
    return tally
