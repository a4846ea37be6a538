"""The queue learns of workers that come and go, and workers of sessions that are over."""

import asyncio
import os
import signal
import time

import pytest

from penumbra.serving.batcher import MicroBatcher
from penumbra.serving.messages import Answer, Job
from penumbra.serving.pool import WorkerPool
from penumbra.serving.processes import Run
from penumbra.serving.specs import ModelSpec, WorkerSettings

ENGINE = """
import os, time
from penumbra.serving.messages import Answer

class Engine:
    def __init__(self):
        self.sessions, self.models = set(), [{"name": "m"}]

    def forget(self, session):
        self.sessions.discard(session)

    def handle(self, jobs, look):
        for job in jobs:
            said = {"of": job.id, "pid": os.getpid(), "bytes": len(job.upload or b""),
                    "sessions": sorted(self.sessions)}
            while (gate := job.options.get("gate")) and not os.path.exists(gate):
                time.sleep(0.005)
                look()
            if "session" in job.options:
                self.sessions.add(job.options["session"])
            yield Answer(id=job.id, document=said)

def load(specs, settings):
    return Engine()
"""


@pytest.fixture
def with_pool(tmp_path, monkeypatch):
    """Run a scenario on a pool of workers with an engine that starts at once."""
    (tmp_path / "come_and_go_engine.py").write_text(ENGINE)
    monkeypatch.syspath_prepend(tmp_path)

    def run(scenario, **options):
        async def whole():
            settings = WorkerSettings(engine="come_and_go_engine:load", **options)
            pool = WorkerPool([ModelSpec(name="m", source="none")], settings)
            await pool.start()
            try:
                await scenario(pool)
            finally:
                await pool.drain(timeout=10)

        asyncio.run(whole())

    return run


def job(name, kind="segment", **options):
    return Job(id=name, kind=kind, model="m", upload=b"12345", options=options, key=name)


async def until(true, *, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.01)


def states(pool):
    return sorted(row["state"] for row in pool.status())


def test_what_waits_goes_to_the_new_worker_while_the_old_one_finishes(with_pool, tmp_path):
    async def scenario(pool):
        gate = tmp_path / "gate"
        batcher = MicroBatcher(pool, max_wait_ms=0)
        old = asyncio.create_task(batcher.submit(job("old", gate=str(gate))))
        await until(lambda: states(pool) == ["busy"])
        waiting = asyncio.create_task(batcher.submit(job("waiting")))
        await asyncio.sleep(0)
        assert batcher.depth == 1
        await pool.reload()
        assert (await asyncio.wait_for(waiting, 60)).document["of"] == "waiting"
        assert (await asyncio.wait_for(batcher.submit(job("next")), 60)).document["of"] == "next"
        assert not old.done()
        assert pool.capacity == 2
        gate.touch()
        assert (await old).document["of"] == "old"
        await until(lambda: states(pool) == ["ready"])
        assert pool.capacity == 1

    with_pool(scenario)


def test_what_waits_goes_to_a_replacement_as_soon_as_it_is_ready(with_pool, tmp_path):
    async def scenario(pool):
        gate = tmp_path / "gate"
        batcher = MicroBatcher(pool, max_wait_ms=0)
        long = asyncio.create_task(batcher.submit(job("long", gate=str(gate))))
        await until(lambda: states(pool) == ["busy", "ready"])
        (idle,) = [row["pid"] for row in pool.status() if row["state"] == "ready"]
        os.kill(idle, signal.SIGKILL)
        await until(lambda: pool.deaths == 1)
        waiting = asyncio.create_task(batcher.submit(job("waiting")))
        await asyncio.sleep(0)
        assert batcher.depth == 1
        # Nobody asks for anything meanwhile.
        answer = await asyncio.wait_for(waiting, 60)
        assert answer.document["pid"] != idle
        assert not long.done()
        gate.touch()
        assert (await long).document["of"] == "long"

    with_pool(scenario, workers=2)


def test_a_worker_forgets_a_session_that_is_over(with_pool, tmp_path):
    async def scenario(pool):
        async def prompt(session, **options):
            asked = job(f"on {session}", kind="prompt", session=session, **options)
            (said,) = [message async for message in pool.submit([asked])]
            return said.document["bytes"], said.document["sessions"]

        assert await prompt("s") == (5, [])
        assert await prompt("s") == (0, ["s"])
        pool.forget("s")
        assert await prompt("t") == (5, [])
        # One that is over while it is worked on is forgotten once that is done.
        gate = tmp_path / "gate"
        running = asyncio.create_task(prompt("u", gate=str(gate)))
        await until(lambda: states(pool) == ["busy"])
        pool.forget("u")
        gate.touch()
        assert await running == (5, ["t"])
        assert await prompt("t") == (0, ["t"])

    with_pool(scenario)


def test_a_batch_holds_of_each_job_the_latest_estimate_and_the_last():
    async def scenario():
        run = Run(1)
        for part in range(100):
            for name in "ab":
                run.hear(Answer(id=name, document={"part": part}, last=part == 99))
        run.finish()
        said = []
        while (one := await run.next()) is not None:
            said.append((one.message.id, one.message.document["part"], one.number))
        assert said == [("a", 98, 99), ("b", 98, 99), ("a", 99, 100), ("b", 99, 100)]

    asyncio.run(scenario())
