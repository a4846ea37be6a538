"""The queue in front of the workers: nothing is lost, nothing swapped, each is answered once."""

import asyncio
import random
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penumbra.serving.batcher import JobFailedError, MicroBatcher, QueueFullError
from penumbra.serving.messages import Answer, Failed, Job


class FakePool:
    """Answers with what it was asked, in any order, some of them in several parts."""

    def __init__(self, *, capacity=1, seed=0, lose=()):
        self.capacity, self.batches, self.closed = capacity, [], 0
        self.random, self.lose = random.Random(seed), lose
        self.gate = asyncio.Event()
        self.gate.set()

    async def submit(self, batch):
        self.batches.append([job.id for job in batch])
        left = [job for job in batch if job.id not in self.lose]
        self.random.shuffle(left)
        try:
            for job in left:
                await self.gate.wait()
                await asyncio.sleep(0)
                if job.options.get("fail"):
                    yield Failed(id=job.id, status=422, code="bad", detail=job.id)
                    continue
                for part in range(job.options.get("parts", 1)):
                    last = part == job.options.get("parts", 1) - 1
                    yield Answer(id=job.id, document={"of": job.id, "part": part}, last=last)
                    await asyncio.sleep(0)
        finally:
            self.closed += 1


def job(name, *, key="a", **options):
    return Job(id=name, kind="segment", model="m", options=options, key=key)


async def until(true, *, seconds=5):
    for _ in range(int(seconds * 1000)):
        if true():
            return
        await asyncio.sleep(0.001)
    pytest.fail("not in time")


_JOBS = st.lists(
    st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(1, 3), st.booleans()),
    min_size=1,
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(jobs=_JOBS, capacity=st.integers(1, 3), most=st.integers(1, 5), seed=st.integers(0, 99))
def test_each_job_gets_its_own_answers_once(jobs, capacity, most, seed):
    async def scenario():
        pool = FakePool(capacity=capacity, seed=seed)
        batcher = MicroBatcher(pool, max_batch=most, max_wait_ms=0.5, max_queue=len(jobs))

        async def ask(number, key, fails, parts):
            asked = job(f"{number}", key=key, fail=fails, parts=parts)
            try:
                return [said.document async for said in batcher.stream(asked)]
            except JobFailedError as error:
                return error.failed.detail

        tasks = [
            asyncio.create_task(ask(number, key, fails, parts))
            for number, (key, fails, parts, _) in enumerate(jobs)
        ]
        await asyncio.sleep(0)
        for task, (_, _, _, leaves) in zip(tasks, jobs, strict=True):
            if leaves:
                task.cancel()
        got = await asyncio.gather(*tasks, return_exceptions=True)
        await batcher.drain()
        for number, ((_, fails, parts, leaves), said) in enumerate(zip(jobs, got, strict=True)):
            if leaves:
                assert isinstance(said, asyncio.CancelledError)
            elif fails:
                assert said == str(number)
            else:
                assert said == [{"of": str(number), "part": part, "timings": said[part]["timings"]}
                                for part in range(parts)]  # fmt: skip
        ran = [name for batch in pool.batches for name in batch]
        assert len(ran) == len(set(ran))
        keys = {str(number): key for number, (key, *_) in enumerate(jobs)}
        for batch in pool.batches:
            assert 1 <= len(batch) <= most
            assert len({keys[name] for name in batch}) == 1
        assert batcher.depth == 0

    asyncio.run(scenario())


def test_jobs_that_come_together_share_a_batch_and_wait_no_longer_than_they_must():
    async def scenario():
        pool, sizes = FakePool(), []
        batcher = MicroBatcher(pool, max_batch=4, max_wait_ms=20, on_batch=sizes.append)
        answers = await asyncio.gather(*(batcher.submit(job(str(n))) for n in range(6)))
        assert [answer.document["of"] for answer in answers] == list("012345")
        assert sizes == [4, 2]
        # The first four were complete at once; the others waited for company that never came.
        assert answers[0].timings["queue"] < 0.02 <= answers[5].timings["queue"]
        assert answers[5].document["timings"] == answers[5].timings

    asyncio.run(scenario())


def test_a_full_queue_refuses_and_says_when_to_come_again():
    async def scenario():
        pool = FakePool()
        pool.gate.clear()
        batcher = MicroBatcher(pool, max_batch=1, max_wait_ms=0, max_queue=3)
        waiting = [asyncio.create_task(batcher.submit(job(str(n)))) for n in range(4)]
        await until(lambda: pool.batches and batcher.depth == 3)
        assert batcher.full
        with pytest.raises(QueueFullError) as refused:
            await batcher.submit(job("more"))
        assert refused.value.retry_after == batcher.retry_after >= 1
        pool.gate.set()
        assert [(await task).document["of"] for task in waiting] == list("0123")
        assert not batcher.full

    asyncio.run(scenario())


def test_a_cancelled_request_leaves_the_queue():
    async def scenario():
        pool = FakePool()
        pool.gate.clear()
        batcher = MicroBatcher(pool, max_batch=1, max_wait_ms=0, max_queue=2)
        first, gone, third = (
            asyncio.create_task(batcher.submit(job(name))) for name in ("first", "gone", "third")
        )
        await until(lambda: pool.batches and batcher.depth == 2)
        gone.cancel()
        await until(lambda: batcher.depth == 1)
        pool.gate.set()
        await asyncio.gather(first, third)
        assert pool.batches == [["first"], ["third"]]

    asyncio.run(scenario())


def test_a_stream_that_nobody_reads_any_more_is_closed():
    async def scenario():
        pool = FakePool()
        batcher = MicroBatcher(pool, max_wait_ms=0)
        stream = batcher.stream(job("s", parts=1000))
        assert (await anext(stream)).document["part"] == 0
        await stream.aclose()
        await batcher.drain()
        assert pool.closed == 1

    asyncio.run(scenario())


def test_of_what_nobody_reads_the_latest_estimate_and_the_last_are_held():
    alive = []

    class Remembered(FakePool):
        async def submit(self, batch):
            async for message in super().submit(batch):
                alive.append(weakref.ref(message))
                yield message

    async def scenario():
        pool = Remembered()
        batcher = MicroBatcher(pool, max_wait_ms=0)
        stream = batcher.stream(job("s", parts=100))
        parts = [(await anext(stream)).document["part"]]
        await batcher.drain()
        assert len(alive) == 100
        # The one that was read is in use.
        assert sum(one() is not None for one in alive) <= 3
        parts += [said.document["part"] async for said in stream]
        assert parts == [0, 98, 99]

    asyncio.run(scenario())


def test_what_waits_is_started_as_soon_as_more_fits():
    class Grows(FakePool):
        def watch(self, tell):
            self.tell = tell

    async def scenario():
        pool = Grows()
        pool.gate.clear()
        batcher = MicroBatcher(pool, max_batch=1, max_wait_ms=0)
        tasks = [asyncio.create_task(batcher.submit(job(str(n)))) for n in range(3)]
        await until(lambda: pool.batches == [["0"]])
        pool.capacity = 2
        pool.tell()
        await until(lambda: pool.batches == [["0"], ["1"]])
        assert batcher.depth == 1
        pool.gate.set()
        assert [(await task).document["of"] for task in tasks] == list("012")

    asyncio.run(scenario())


def test_the_oldest_is_served_first_whatever_its_key():
    async def scenario():
        pool = FakePool()
        pool.gate.clear()
        batcher = MicroBatcher(pool, max_batch=2, max_wait_ms=0)
        tasks = [
            asyncio.create_task(batcher.submit(job(name, key=name[0])))
            for name in ("x0", "a1", "b1", "a2", "a3", "b2")
        ]
        await until(lambda: batcher.depth == 5)
        pool.gate.set()
        await asyncio.gather(*tasks)
        assert pool.batches == [["x0"], ["a1", "a2"], ["b1", "b2"], ["a3"]]

    asyncio.run(scenario())


def test_draining_finishes_what_was_accepted_and_refuses_the_rest():
    async def scenario():
        pool = FakePool()
        pool.gate.clear()
        batcher = MicroBatcher(pool, max_batch=1, max_wait_ms=0)
        accepted = [asyncio.create_task(batcher.submit(job(str(n)))) for n in range(3)]
        await until(lambda: batcher.depth == 2)
        draining = asyncio.create_task(batcher.drain())
        await asyncio.sleep(0)
        with pytest.raises(JobFailedError) as refused:
            await batcher.submit(job("late"))
        assert (refused.value.failed.status, refused.value.failed.code) == (503, "closing")
        assert not draining.done()
        pool.gate.set()
        assert [(await task).document["of"] for task in accepted] == list("012")
        await asyncio.wait_for(draining, 5)

    asyncio.run(scenario())


def test_a_job_that_the_pool_forgets_is_answered_too():
    async def scenario():
        batcher = MicroBatcher(FakePool(lose=("1",)), max_batch=3, max_wait_ms=5)
        said = await asyncio.gather(
            *(batcher.submit(job(str(n))) for n in range(3)), return_exceptions=True
        )
        assert [said[0].document["of"], said[2].document["of"]] == ["0", "2"]
        assert (said[1].failed.status, said[1].failed.code) == (500, "unanswered")

    asyncio.run(scenario())
