"""Workers that load, work, die, are replaced and reloaded, while no request is lost.

The engine here is a stand-in that starts at once; `test_serving_engine.py` has the real one.
"""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from penumbra.errors import ModelError, SettingsError
from penumbra.serving.batcher import MicroBatcher
from penumbra.serving.messages import Answer, Job
from penumbra.serving.pool import WorkerPool
from penumbra.serving.specs import ModelSpec, WorkerSettings

ENGINE = """
import os, pathlib, signal, time
from penumbra.errors import ModelError
from penumbra.serving.messages import Answer, Failed

class Engine:
    def __init__(self, source):
        self.source, self.sessions = source, set()
        self.models = [{"name": "m", "text": pathlib.Path(source).read_text(), "pid": os.getpid()}]

    def handle(self, jobs, look):
        for job in jobs:
            yield from self.one(job, job.options, look)

    def one(self, job, options, look):
        if options.get("die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if mark := options.get("die_once"):
            if not os.path.exists(mark):
                pathlib.Path(mark).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if job.kind == "prompt":
            if options["session"] not in self.sessions and job.upload is None:
                yield Failed(id=job.id, status=0, code="unknown-session", detail="")
                return
            self.sessions.add(options["session"])
        while (gate := options.get("gate")) and not os.path.exists(gate):
            time.sleep(0.005)
            look()
        for part in range(options.get("parts", 1)):
            if part == options.get("die_at") and not os.path.exists(options["mark"]):
                pathlib.Path(options["mark"]).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(options.get("pause", 0))
            said = {"of": job.id, "part": part, "model": self.models[0]["text"],
                    "pid": os.getpid(), "bytes": len(job.upload or b"")}
            yield Answer(id=job.id, document=said, last=part == options.get("parts", 1) - 1)

def load(specs, settings):
    if pathlib.Path(specs[0].source).read_text() == "broken":
        raise ModelError("Expected the model to be whole, but got half. Try another.")
    return Engine(specs[0].source)
"""


@pytest.fixture
def model(tmp_path, monkeypatch):
    """The file that the model is loaded from."""
    (tmp_path / "stand_in_engine.py").write_text(ENGINE)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "model.txt"
    path.write_text("one")
    return path


def pool_of(model, **options):
    settings = WorkerSettings(engine="stand_in_engine:load", **options)
    return WorkerPool([ModelSpec(name="m", source=str(model))], settings)


def job(name, kind="segment", upload=None, **options):
    return Job(id=name, kind=kind, model="m", upload=upload, options=options)


async def said_to(pool, *jobs):
    return [message async for message in pool.submit(list(jobs))]


async def until(true, *, seconds=30):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.01)


def with_pool(model, scenario, **options):
    async def whole():
        pool = pool_of(model, **options)
        await pool.start()
        try:
            await scenario(pool)
        finally:
            await pool.drain(timeout=10)
        assert pool.status() == []

    asyncio.run(whole())


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_answers_come_from_another_process(model):
    async def scenario(pool):
        assert pool.is_ready
        assert pool.models[0]["text"] == "one"
        assert [row["state"] for row in pool.status()] == ["ready"]
        large = b"x" * 3_000_000
        said = await said_to(pool, job("a", upload=large), job("b", parts=3))
        found = [(m.document["of"], m.document["part"], m.last) for m in said]
        assert (found[0], found[-1]) == (("a", 0, True), ("b", 2, True))
        # An estimate that nobody has read when the next one comes is left out.
        assert set(found[1:-1]) <= {("b", 0, False), ("b", 1, False)}
        assert said[0].document["bytes"] == len(large)
        assert said[0].document["pid"] == pool.status()[0]["pid"] != os.getpid()

    with_pool(model, scenario)


def test_the_loop_is_not_blocked_while_a_worker_works(model, tmp_path):
    async def scenario(pool):
        gate = tmp_path / "gate"
        task = asyncio.create_task(said_to(pool, job("a", gate=str(gate), upload=b"x" * 9_000_000)))
        await until(lambda: pool.status()[0]["state"] == "busy")
        gate.touch()
        assert (await task)[0].id == "a"

    with_pool(model, scenario)


def test_a_killed_worker_is_noticed_and_replaced_and_its_jobs_are_tried_again(model, tmp_path):
    async def scenario(pool):
        gate = tmp_path / "gate"
        names = [f"j{n}" for n in range(3)]
        task = asyncio.create_task(said_to(pool, *(job(n, gate=str(gate)) for n in names)))
        await until(lambda: pool.status()[0]["state"] == "busy")
        first = pool.status()[0]["pid"]
        os.kill(first, signal.SIGKILL)
        await until(lambda: not pool.is_ready)
        assert pool.deaths == 1
        assert first not in [row["pid"] for row in pool.status() if row["state"] == "ready"]
        gate.touch()
        said = await task
        assert [m.document["of"] for m in said] == names
        assert first not in {m.document["pid"] for m in said}
        assert pool.is_ready

    with_pool(model, scenario)


def test_a_job_that_kills_twice_fails_alone(model, tmp_path):
    async def scenario(pool):
        said = await said_to(
            pool,
            job("before"),
            job("killer", die=True),
            job("after"),
            job("unlucky", die_once=str(tmp_path / "mark")),
        )
        found = {m.id: m for m in said}
        assert len(said) == len(found) == 4
        assert (found["killer"].status, found["killer"].code) == (422, "crashed")
        for name in ("before", "after"):
            assert isinstance(found[name], Answer)
            assert found[name].document["of"] == name
        # It met its own end on its second try, the first having been somebody else's.
        assert found["unlucky"].id == "unlucky"
        await until(lambda: pool.is_ready)
        assert (await said_to(pool, job("next")))[0].document["of"] == "next"

    with_pool(model, scenario)


def test_a_stream_that_is_tried_again_does_not_repeat_itself(model, tmp_path):
    async def scenario(pool):
        said = await said_to(
            pool, job("s", parts=4, pause=0.1, die_at=2, mark=str(tmp_path / "mark"))
        )
        parts = [m.document["part"] for m in said]
        assert parts == sorted(set(parts))
        assert parts[-1] == 3
        assert len({m.document["pid"] for m in said}) == 2

    with_pool(model, scenario)


def test_a_worker_that_says_nothing_is_ended(model, tmp_path):
    async def scenario(pool):
        (said,) = await said_to(pool, job("stuck", gate=str(tmp_path / "never")))
        assert said.code == "crashed"

    with_pool(model, scenario, silence_timeout_s=0.3)


def test_who_goes_away_frees_the_worker(model):
    async def scenario(pool):
        stream = pool.submit([job("long", parts=100_000, pause=0.001)])
        assert (await anext(stream)).document["part"] == 0
        await stream.aclose()
        assert (await said_to(pool, job("next")))[0].document["of"] == "next"
        assert pool.deaths == 0

    with_pool(model, scenario)


def test_who_goes_away_before_the_first_answer_frees_the_worker_too(model, tmp_path):
    async def scenario(pool):
        batcher = MicroBatcher(pool, max_wait_ms=50)
        gone = [job(name, gate=str(tmp_path / "never")) for name in "ab"]
        waiting = [asyncio.create_task(batcher.submit(one)) for one in gone]
        await until(lambda: pool.status()[0]["state"] == "busy")
        assert batcher.depth == 0
        waiting[0].cancel()
        await asyncio.gather(*waiting[:1], return_exceptions=True)
        # Somebody waits for the other one still.
        assert pool.status()[0]["state"] == "busy"
        waiting[1].cancel()
        assert (await batcher.submit(job("next"))).document["of"] == "next"
        assert pool.deaths == 0
        await batcher.drain()

    with_pool(model, scenario)


def test_reloading_drops_nothing(model, tmp_path):
    async def scenario(pool):
        gate = tmp_path / "gate"
        running = asyncio.create_task(said_to(pool, job("old", gate=str(gate))))
        await until(lambda: pool.status()[0]["state"] == "busy")
        model.write_text("two")
        await pool.reload("m")
        assert sorted(row["state"] for row in pool.status()) == ["leaving", "ready"]
        assert pool.models[0]["text"] == "two"
        assert (await said_to(pool, job("new")))[0].document["model"] == "two"
        assert not running.done()
        gate.touch()
        assert (await running)[0].document["model"] == "one"
        await until(lambda: len(pool.status()) == 1)
        assert pool.deaths == 0

    with_pool(model, scenario)


def test_a_model_that_cannot_be_reloaded_leaves_the_old_one(model):
    async def scenario(pool):
        before = pool.status()[0]["pid"]
        model.write_text("broken")
        with pytest.raises(ModelError, match="to be whole, but got half"):
            await pool.reload()
        with pytest.raises(SettingsError, match="one of m"):
            await pool.reload("another")
        assert [(row["pid"], row["state"]) for row in pool.status()] == [(before, "ready")]
        assert (await said_to(pool, job("a")))[0].document["model"] == "one"

    with_pool(model, scenario)


def test_a_pool_whose_model_cannot_be_loaded_does_not_start(model):
    model.write_text("broken")

    async def scenario():
        pool = pool_of(model, workers=2)
        with pytest.raises(ModelError, match="to be whole"):
            await pool.start()
        await until(lambda: all(row["pid"] is None for row in pool.status()))
        assert not pool.is_ready
        assert "half" in pool.problem
        (said,) = await said_to(pool, job("a"))
        assert (said.status, said.code) == (503, "no-worker")
        # Once the file is mended, a reload makes up for the start.
        model.write_text("mended")
        await pool.reload()
        assert (await said_to(pool, job("b")))[0].document["model"] == "mended"
        assert [row["state"] for row in pool.status()] == ["ready", "ready"]
        await pool.drain(timeout=10)

    asyncio.run(scenario())


def test_a_replacement_that_fails_is_said_and_tried_again(model):
    async def scenario(pool):
        model.write_text("broken")
        os.kill(pool.status()[0]["pid"], signal.SIGKILL)
        await until(lambda: pool.problem is not None)
        (said,) = await said_to(pool, job("a"))
        assert said.code == "no-worker"
        model.write_text("three")
        await until(lambda: pool.is_ready)
        assert pool.problem is None
        assert (await said_to(pool, job("b")))[0].document["model"] == "three"

    with_pool(model, scenario)


def test_a_sessions_upload_is_sent_only_where_it_is_needed(model):
    async def scenario(pool):
        def prompt(name):
            return job(name, kind="prompt", upload=b"12345", session="s")

        assert [(await said_to(pool, prompt(n)))[0].document["bytes"] for n in "ab"] == [5, 0]
        # The new worker knows no session; whoever asks does not notice.
        await pool.reload()
        assert [(await said_to(pool, prompt(n)))[0].document["bytes"] for n in "cd"] == [5, 0]

    with_pool(model, scenario)


def test_two_workers_work_at_once(model, tmp_path):
    async def scenario(pool):
        gate = tmp_path / "gate"
        tasks = [asyncio.create_task(said_to(pool, job(n, gate=str(gate)))) for n in "abc"]
        await until(lambda: [row["state"] for row in pool.status()] == ["busy", "busy"])
        assert pool.capacity == 2
        gate.touch()
        said = [(await task)[0] for task in tasks]
        assert [m.document["of"] for m in said] == list("abc")
        assert len({m.document["pid"] for m in said}) == 2

    with_pool(model, scenario, workers=2)


def test_draining_finishes_what_runs(model, tmp_path):
    async def scenario(pool):
        gate = tmp_path / "gate"
        running = asyncio.create_task(said_to(pool, job("a", gate=str(gate))))
        await until(lambda: pool.status()[0]["state"] == "busy")
        pid = pool.status()[0]["pid"]
        # A signal to the group reaches the worker too; what it does with it is the parent's choice.
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
        draining = asyncio.create_task(pool.drain(timeout=10))
        await until(lambda: pool.status()[0]["state"] == "leaving")
        (late,) = await said_to(pool, job("late"))
        assert late.code == "closing"
        gate.touch()
        assert (await running)[0].document["of"] == "a"
        await draining
        assert not alive(pid)
        assert pool.deaths == 0

    with_pool(model, scenario)


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGKILL)", "raise SystemExit(3)"])
def test_workers_end_with_their_parent_however_it_ends(model, tmp_path, end):
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(f"""
        import asyncio, os, signal, sys
        sys.path.insert(0, {str(tmp_path)!r})
        from penumbra.serving.pool import WorkerPool
        from penumbra.serving.specs import ModelSpec, WorkerSettings

        async def main():
            settings = WorkerSettings(engine="stand_in_engine:load")
            pool = WorkerPool([ModelSpec(name="m", source={str(model)!r})], settings)
            await pool.start()
            print(pool.status()[0]["pid"], flush=True)
            {end}

        if __name__ == "__main__":
            asyncio.run(main())
    """)
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False
    )
    pid = int(done.stdout)
    asyncio.run(until(lambda: not alive(pid)))
    assert done.returncode != 0
