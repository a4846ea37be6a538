"""A small server that speaks the REST interface, with a segmenter drawn by hand; a browser."""

from __future__ import annotations

import email.parser
import email.policy
import io
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError
from scipy import ndimage

from penumbra.imaging.rle import encode_coco

WEB = Path(__file__).resolve().parents[2] / "src" / "penumbra" / "web"
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css",
         ".svg": "image/svg+xml"}  # fmt: skip
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
LN2 = float(np.log(2))


@dataclass
class Fake:
    """What the server was asked, and how it is to behave."""

    key: str | None = None
    promptable: bool = True
    every: int = 2
    refuse: int = 0  # so many inferences are answered with 429
    hold: threading.Event | None = None  # inferences wait for it
    refuse_prompts: int = 0  # the same for prompts
    presence: bool = False  # the run has a presence rule, which no map alone tells
    expired: int = 0  # so many prompts find no session
    url: str = ""
    asked: list[tuple[str, str, dict]] = field(default_factory=list)
    kept: dict[str, Callable[[], np.ndarray]] = field(default_factory=dict)
    sessions: dict[str, np.ndarray] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, path):
        """Give the fields of all requests to a path."""
        with self.lock:
            return [fields for _, asked, fields in self.asked if asked == path]

    def count(self):
        with self.lock:
            return len(self.asked)


class Refusal(Exception):  # noqa: N818 - an answer, not a failure
    def __init__(self, status, title, detail, errors=None, headers=None):
        super().__init__(detail)
        self.status, self.headers = status, headers or {}
        self.document = {"type": "urn:penumbra:x", "title": title, "status": status,
                         "detail": detail, "instance": "1"}  # fmt: skip
        if errors:
            self.document["errors"] = errors


def maps_of(grey, strength):
    """Probability by brightness, blurred; doubt where it is near one half."""
    smooth = ndimage.gaussian_filter(grey.astype(np.float64), max(1.0, grey.shape[0] / 90))
    high = np.percentile(smooth, 99)
    probability = 1 / (1 + np.exp(-(smooth - 0.68 * high) / (0.05 * high + 1)))
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    spread = p * (1 - p) * strength
    return {
        "probability": (probability, (0, 1), ""), "confidence": (np.maximum(p, 1 - p), (0, 1), ""),
        "entropy": (entropy, (0, LN2), "nat"), "expected_entropy": (entropy * 0.8, (0, LN2), "nat"),
        "mutual_information": (entropy * 0.2 * strength, (0, LN2), "nat"),
        # Of these nobody knows the most beforehand: each answer has a scale of its own.
        "variance": (spread, (0, float(spread.max())), ""),
        "standard_error": (np.sqrt(spread) / 4, (0, float(np.sqrt(spread.max())) / 4), ""),
    }  # fmt: skip


def cut_from(probability, mode):
    """What the mask is cut from: other passes than those that the probability is the mean of."""
    if mode == "disabled":
        return ndimage.minimum_filter(probability, 2 * max(1, probability.shape[0] // 60) + 1)
    return probability**1.5


def levels_of(values, low, high, bits):
    levels = np.rint((values - low) / (high - low) * (2**bits - 1))
    return levels.astype(np.uint16 if bits == 16 else np.uint8)


def png(array):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG", compress_level=1)
    return out.getvalue()


class Handler(BaseHTTPRequestHandler):
    fake: Fake

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.guarded(self.get)

    def do_POST(self):
        self.guarded(self.post)

    def guarded(self, act):
        path = urlsplit(self.path).path
        try:
            self.let_in(path)
            act(path)
        except Refusal as wrong:
            body = json.dumps(wrong.document).encode()
            self.reply(body, "application/problem+json", wrong.status, wrong.headers)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def let_in(self, path):
        key = f"Bearer {self.fake.key}"
        if self.fake.key and path.startswith("/v1") and self.headers.get("Authorization") != key:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            raise Refusal(401, "An API key is needed", "Send a key.")

    def reply(self, body, kind, status=200, headers=None):
        self.send_response(status)
        sent = {"Content-Type": kind, "Content-Length": str(len(body))}
        for name, value in (sent | {"Content-Security-Policy": POLICY} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def noted(self, path, fields):
        with self.fake.lock:
            self.fake.asked.append((self.command, path, fields))

    def get(self, path):
        if path.startswith("/v1"):
            self.noted(path, {})
        if path == "/v1/models":
            return self.reply(json.dumps({"models": self.models()}).encode(), "application/json")
        if path.startswith("/v1/results/"):
            body = self.fake.kept.get(path)
            if body is None:
                raise Refusal(404, "There is no such thing here", "The result has expired.")
            # Encoded when asked for: most maps of an estimate never are.
            return self.reply(png(body()), "image/png")
        name = "studio/index.html" if path == "/" else path.removeprefix("/web/")
        file = (WEB / name).resolve()
        if WEB not in file.parents or not file.is_file():
            raise Refusal(404, "There is no such thing here", "Nothing.")
        return self.reply(file.read_bytes(), TYPES[file.suffix])

    def models(self):
        served = [{"name": "nerve", "kind": "segmenter", "classes": ["background", "nerve"],
                   "has_noise": True, "sampler": "noise:8", "calibrated": True, "threshold": 0.5,
                   "size": [420, 580], "accepts": ["png"]}]  # fmt: skip
        if self.fake.promptable:
            served.append({"name": "sam", "kind": "promptable", "accepts": ["box", "point"]})
        return served

    def form(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = self.headers["Content-Type"]
        if kind.startswith("application/json"):
            return json.loads(body), b""
        head = f"Content-Type: {kind}\r\n\r\n".encode()
        message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
        fields, upload = {}, b""
        for each in message.iter_parts():
            name = each.get_param("name", header="content-disposition")
            content = each.get_payload(decode=True)
            if name == "image":
                upload = content
            else:
                fields[name] = content.decode()
        return fields, upload

    def grey(self, upload):
        try:
            return np.asarray(Image.open(io.BytesIO(upload)).convert("L"))
        except UnidentifiedImageError:
            detail = "Expected the upload to be PNG, JPEG, TIFF or DICOM, but got other bytes."
            raise Refusal(415, "This kind of content is not read here", detail) from None

    def post(self, path):
        fields, upload = self.form()
        self.noted(path, fields)
        if path in ("/v1/segment", "/v1/uncertainty"):
            return self.infer(fields, upload)
        if path == "/v1/sessions":
            number = str(len(self.fake.sessions) + 1)
            self.fake.sessions[number] = self.grey(upload)
            height, width = self.fake.sessions[number].shape
            answer = {"id": number, "model": "sam", "timings": {"network": 0.412},
                      "size": {"height": height, "width": width}}  # fmt: skip
            return self.reply(json.dumps(answer).encode(), "application/json", 201)
        if path.endswith("/prompt"):
            return self.prompt(path.split("/")[3], fields)
        raise Refusal(404, "There is no such thing here", "Nothing.")

    def infer(self, fields, upload):
        if self.fake.refuse:
            self.fake.refuse -= 1
            raise Refusal(429, "The queue is full", "Try again.", headers={"Retry-After": "1"})
        if self.fake.hold is not None:
            self.fake.hold.wait(20)
        grey = self.grey(upload)
        samples = int(fields.get("samples", 1))
        if float(fields.get("noise_strength", 0.3)) > 1.9:
            errors = [{"field": "noise_strength", "message": "Input should be at most 1.9 here"}]
            raise Refusal(422, "The request does not fit", "`noise_strength`: too much", errors)
        if "text/event-stream" not in self.headers.get("Accept", ""):
            document = self.answer(fields, grey, samples)
            self.reply(json.dumps(document).encode(), "application/json")
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for passes in range(self.fake.every, samples + 1, self.fake.every):
            document = self.answer(fields, grey, passes) | {"converged": passes == samples}
            event = "done" if passes + self.fake.every > samples else "estimate"
            self.wfile.write(f"event: {event}\r\ndata: {json.dumps(document)}\r\n\r\n".encode())
            self.wfile.flush()
        self.close_connection = True

    def answer(self, fields, grey, passes):
        strength = float(fields.get("noise_strength", 0.3))
        mode, threshold = fields.get("noise_mode"), float(fields.get("threshold", 0.5))
        number = f"r{self.fake.count()}-{passes}-{len(self.fake.kept)}"
        maps, pictures, bits = {}, {}, int(fields["bits"])
        known = maps_of(grey, strength / 2 if mode == "ensemble" else strength)
        cut = cut_from(known["probability"][0], mode)
        known["mask_probability"] = (cut, (0, 1), "")
        for name in fields["outputs"].split(","):
            href = f"/v1/results/{number}/{name}.png"
            if name == "image":
                self.fake.kept[href] = lambda: grey
                pictures[name] = {"href": href}
            elif name in known:
                values, (low, high), unit = known[name]
                self.fake.kept[href] = partial(levels_of, values, low, high, bits)
                maps[name] = {"href": href, "bits": bits, "scale": [low, high], "unit": unit}
        emptied = self.fake.presence and threshold > 0.8
        mask = (cut >= threshold) & (not emptied)
        return {
            "id": number, "model": "nerve", "classes": ["background", "nerve"],
            "size": {"height": grey.shape[0], "width": grey.shape[1]}, "maps": maps,
            "pictures": pictures,
            "masks": [{"class": 1, "name": "nerve", "area_px": int(mask.sum()),
                       "rle": encode_coco(mask)}],
            "scores": {}, "flagged": None, "sampler": f"noise:{passes}", "passes": passes,
            "noise_mode": mode, "noise_strength": strength, "seed": 0, "emptied": emptied,
            "threshold": threshold, "notes": [],
            "threshold_map": None if self.fake.presence else "mask_probability",
            "timings": {"decode": 0.009, "network": 0.412, "encode": 0.012},
        }  # fmt: skip

    def prompt(self, number, body):
        if self.fake.refuse_prompts:
            self.fake.refuse_prompts -= 1
            raise Refusal(429, "The queue is full", "Try again.", headers={"Retry-After": "0.05"})
        if self.fake.expired:
            self.fake.expired -= 1
            raise Refusal(404, "There is no such thing here", "The session has expired.")
        grey = self.fake.sessions[number]
        mask = np.zeros(grey.shape, bool)
        if body["boxes"]:
            left, top, right, bottom = (round(side) for side in body["boxes"][0])
            rows, columns = np.mgrid[: grey.shape[0], : grey.shape[1]]
            inside = ((columns + 0.5 - (left + right) / 2) / ((right - left) / 2)) ** 2
            mask |= inside + ((rows + 0.5 - (top + bottom) / 2) / ((bottom - top) / 2)) ** 2 <= 1
        for (x, y), label in zip(body["points"], body["labels"], strict=True):
            rows, columns = np.ogrid[: grey.shape[0], : grey.shape[1]]
            near = (columns - x) ** 2 + (rows - y) ** 2 <= (grey.shape[0] / 12) ** 2
            mask = mask | near if label else mask & ~near
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        masks = []
        if rows.size:
            box = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
            crop = mask[box[1] : box[3], box[0] : box[2]]
            masks = [{"box": box, "rle": encode_coco(crop), "area_px": int(mask.sum()),
                      "predicted_iou": 0.91, "stability": 0.95}]  # fmt: skip
        answer = {"masks": masks, "timings": {"decode": 0.009}}
        self.reply(json.dumps(answer).encode(), "application/json")


@pytest.fixture
def fake():
    """The server, with what it was asked."""
    state = Fake()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"fake": state}))
    server.daemon_threads = True
    state.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield state
    if state.hold is not None:
        state.hold.set()
    server.shutdown()
    server.server_close()
    thread.join(5)


@pytest.fixture
def page(chromium, fake):
    """A page at 1280×800 that has seen no error of its own."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800}, color_scheme="light")
    context.set_default_timeout(60_000)
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if "Security" in said.text else None)
    page.on("request", lambda asked: None if asked.url.startswith((fake.url, "blob:", "data:"))
            else wrong.append(f"asked elsewhere: {asked.url}"))  # fmt: skip
    yield page
    context.close()
    assert not wrong


def body_of_grey(height=240, width=320, seed=0):
    """A drawn image: a bright ellipse in speckle."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    inside = ((columns - width * 0.5) / (width * 0.2)) ** 2
    inside = inside + ((rows - height * 0.45) / (height * 0.25)) ** 2
    grey = np.where(inside < 1, 190.0, 60.0)
    grey = ndimage.gaussian_filter(grey, 2) * (0.8 + 0.4 * rng.random((height, width)))
    return np.clip(grey, 0, 255).astype(np.uint8)


@pytest.fixture
def image_file():
    """The image as a file that a page can be given, in any format that PIL writes."""

    def made(name="one.png", **size):
        out = io.BytesIO()
        kind = {"png": "PNG", "tif": "TIFF", "jpg": "JPEG"}[name.rpartition(".")[2]]
        Image.fromarray(body_of_grey(**size)).save(out, kind)
        return {"name": name, "mimeType": "application/octet-stream", "buffer": out.getvalue()}

    return made
