"""What keeps a worker within its bounds: work given up, passes, threads, sessions forgotten."""

import io
import os

import numpy as np
import pytest
import torch
from PIL import Image

from penumbra.errors import SettingsError
from penumbra.models.storage import save_model
from penumbra.models.unet.unet import UNet
from penumbra.serving.engine import load_engine, threads_of
from penumbra.serving.messages import Answer, Job
from penumbra.serving.options import UncertaintyOptions
from penumbra.serving.requests import SegmentRequest
from penumbra.serving.specs import ModelSpec, WorkerSettings
from penumbra.serving.variants import ServedSegmenter

OTSU = "classical:otsu,foreground=bright"


class EnoughError(Exception):
    """Nobody waits any more."""


@pytest.fixture(scope="module")
def engine(tiny_sam):
    specs = [
        ModelSpec(name="otsu", source=OTSU),
        ModelSpec(name="sam", kind="promptable", source=str(tiny_sam)),
    ]
    return load_engine(specs, WorkerSettings(precision="fp32"))


def photograph(width=320):
    card = np.zeros((240, width), np.uint8)
    card[50:190, 40:262] = 255
    target = io.BytesIO()
    Image.fromarray(card).save(target, format="PNG")
    return target.getvalue()


def job(name, kind, model, upload=None, **options):
    return Job(id=name, kind=kind, model=model, upload=upload, options=options)


BOXES = [[4 * n, 4, 4 * n + 60, 90] for n in range(6)]
WORK = {
    # One look as each job begins, then …
    "embed": ([job("e", "embed", "sam", photograph(), session="given up")], 2),
    "prompt": ([job("p", "prompt", "sam", session="s", boxes=BOXES)], 1 + len(BOXES)),
    "rectify": ([job("c", "rectify", "otsu", photograph(), limit=0.0)], 1 + 2 + 1),
    "segment": ([job(f"{n}", "segment", "otsu", photograph(320 + n)) for n in range(3)], 3 + 3),
}


@pytest.mark.parametrize("kind", WORK)
def test_whatever_runs_can_be_given_up(engine, kind):
    jobs, most = WORK[kind]
    list(engine.handle([job("s", "embed", "sam", photograph(), session="s")]))
    for last in range(1, most + 1):
        looks = []

        def look(looks=looks, last=last):
            looks.append(1)
            if len(looks) == last:
                raise EnoughError

        with pytest.raises(EnoughError):
            list(engine.handle(jobs, look=look))
    assert all(isinstance(said, Answer) for said in engine.handle(jobs))


def test_a_session_that_is_over_takes_no_memory(engine):
    def asks(session):
        (said,) = engine.handle([job("p", "prompt", "sam", session=session, boxes=BOXES[:1])])
        return isinstance(said, Answer)

    cache = engine._models["sam"].cache
    before = cache.nbytes
    jobs = [job(name, "embed", "sam", photograph(300), session=name) for name in ("a", "b")]
    for one in jobs:
        list(engine.handle([one]))
    held = cache.nbytes
    assert held > before
    engine.forget("a")
    # The same image is the other session's as well.
    assert (asks("a"), asks("b"), cache.nbytes) == (False, True, held)
    engine.forget("b")
    assert (asks("b"), cache.nbytes) == (False, before)
    engine.forget("never there")


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """A run of a network, whose features can be disturbed."""
    folder = tmp_path_factory.mktemp("bounds") / "run"
    network = UNet(1, 1, width=4, depth=2).eval()
    save_model(folder, network, details={"preprocess": {"size": 64}, "class_names": ["a", "b"]})
    return ModelSpec(name="net", source=str(folder))


@pytest.mark.parametrize("most", [1, 4, 8, 64])
def test_the_usual_passes_are_within_the_servers_bound(noisy, most):
    segmenter = ServedSegmenter(noisy, WorkerSettings(max_samples=most, precision="fp32"))
    asked = UncertaintyOptions()
    asked.check_samples(most)
    options = asked.with_passes(asked.plain())
    plan = segmenter.plan(SegmentRequest.of(options, max_samples=most))
    assert segmenter.predictor(plan).n_samples == min(8, most)


def test_a_run_that_needs_more_passes_than_the_server_makes_is_refused_in_words(noisy):
    segmenter = ServedSegmenter(noisy, WorkerSettings(max_samples=4, precision="fp32"))
    segmenter.base = segmenter.base.using(sampler="noise:6@0.3")
    with pytest.raises(SettingsError) as refused:
        segmenter.predictor(segmenter.plan(SegmentRequest()))
    assert str(refused.value) == (
        "Expected the passes of net to be at most 4, which is all that this server makes for a "
        "request, but got 6 by its own sampler, noise:6@0.3. Try samples=4, noise_mode=disabled, "
        "or a server with more max_samples."
    )
    fewer = segmenter.plan(SegmentRequest(samples=4))
    assert segmenter.predictor(fewer).n_samples == 4


def test_workers_share_the_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 16)
    given = [(1, None), (2, None), (3, None), (16, None), (2, 5)]
    found = [threads_of(WorkerSettings(workers=w, threads=t)) for w, t in given]
    assert found == [8, 4, 2, 1, 5]
    # Whoever has told the library to take fewer means it.
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert threads_of(WorkerSettings(workers=2)) == 3
