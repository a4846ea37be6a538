"""A pool that answers in this process, for tests of what is around it."""

import asyncio
import contextlib
import io
import logging
import warnings

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from penumbra.serving.app import create_app
from penumbra.serving.logs import DECODERS
from penumbra.serving.messages import Answer, Failed
from penumbra.serving.settings import ServeSettings

MODELS = [
    {"name": "first", "kind": "segmenter", "classes": ["background", "nerve"], "size": 64},
    {"name": "sam", "kind": "promptable", "accepts": ["box", "point", "mask"]},
]


class FakePool:
    """Answers at once, or when `gate` is opened."""

    def __init__(self, *, gated=False, ready=True):
        self.problem = None
        self.deaths = 0
        self.capacity = 1
        self.is_ready = False
        self.starts_ready = ready
        self.gate = asyncio.Event()
        self.gated = gated
        self.batches = []
        self.reloads = []
        self.drained = False
        self.forgotten = []

    @property
    def models(self):
        return MODELS if self.is_ready else []

    def status(self):
        state = "ready" if self.is_ready else "starting"
        return [{"pid": 1, "state": state, "for_s": 0.0, "jobs": len(self.batches)}]

    async def start(self):
        self.is_ready = self.starts_ready

    async def reload(self, name=None):
        self.reloads.append(name)

    async def drain(self, timeout=30.0):
        self.drained = True

    def forget(self, session):
        self.forgotten.append(session)

    async def submit(self, batch):
        self.batches.append([job.id for job in batch])
        if self.gated:
            await self.gate.wait()
        for job in batch:
            for message in self.messages(job):
                yield message

    def messages(self, job):
        """What a job gives; its upload may ask for an error: b"status=415"."""
        if job.upload and job.upload.endswith(b"status=422"):
            yield Failed(id=job.id, status=422, code="damaged", detail="The image is damaged.")
            return
        timings = {"decode": 0.001, "network": 0.002}
        if job.options.get("stream"):
            for last in (False, True):
                document = {"id": job.id, "converged": last, "mean_standard_error": 0.01}
                yield Answer(id=job.id, document=document, timings=timings, last=last)
            return
        yield Answer(
            id=job.id,
            document=self.document(job),
            files=self.files(job),
            timings=timings,
            cached=True if job.kind == "prompt" else None,
        )

    def files(self, job):
        if job.kind in ("embed", "prompt"):
            return {}
        if job.options["accept"] == "npz":
            return {"arrays.npz": b"PK\x03\x04"}
        return {"mask.png": b"\x89PNG fake"}

    def document(self, job):
        if job.kind == "prompt":
            boxes = job.options["boxes"] or [[0, 0, 1, 1]]
            return {"masks": [{"box": [int(x) for x in box], "area_px": 1} for box in boxes]}
        if job.kind == "embed":
            return {}
        if job.kind == "rectify":
            return {"id": job.id, "cards": []}
        rle = {"size": [4, 6], "counts": "T0"}
        return {
            "id": job.id,
            "model": job.model,
            "size": {"height": 4, "width": 6},
            "classes": ["background", "nerve"],
            "masks": [{"class": 1, "name": "nerve", "area_px": 0, "rle": rle}],
            "maps": {},
            "seed": job.options["seed"],
            "sampler": "deterministic",
            "passes": 1,
            "threshold": job.options["threshold"] or 0.5,
            "href": f"/v1/results/{job.id}/mask.png",
        }


def png_of(pixels):
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, format="PNG")
    return target.getvalue()


@pytest.fixture(autouse=True, scope="module")
def own_logs():
    """Applications silence the logs of decoders; other tests want to read them."""
    loggers = [logging.getLogger(name) for name in DECODERS]
    before = [one.level for one in loggers]
    with warnings.catch_warnings():
        yield
    for one, level in zip(loggers, before, strict=True):
        one.setLevel(level)


@pytest.fixture(scope="session")
def cell_png():
    """A bright cell on dark ground, 40 × 48."""
    rows, columns = np.mgrid[:40, :48]
    inside = (rows - 20) ** 2 + (columns - 22) ** 2 < 90
    noise = np.random.default_rng(0).normal(0, 9, inside.shape)
    return png_of(np.clip(np.where(inside, 190, 60) + noise, 0, 255).astype(np.uint8))


@pytest.fixture
def serve():
    """Give a client of an application: `serve(gated=False, ready=True, **settings)`."""
    with contextlib.ExitStack() as stack:

        def start(*, pool=None, gated=False, ready=True, base="http://localhost:8000", **settings):
            pool = pool or FakePool(gated=gated, ready=ready)
            given = ServeSettings.of(runs={"first": "runs/first"}, ui=False, **settings)
            client = TestClient(create_app(given, pool=pool), base_url=base)
            client.pool = pool
            return stack.enter_context(client)

        yield start


@pytest.fixture(scope="session")
def fake_pool():
    """The class of the pool that answers in this process."""
    return FakePool
