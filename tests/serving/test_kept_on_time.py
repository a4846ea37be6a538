"""Stores forget on time, and tell what is over."""

import asyncio

from penumbra.serving.kept import forget_on_time
from penumbra.serving.results import Results
from penumbra.serving.sessions import Session, Sessions


def test_whatever_goes_is_told_once_however_it_goes():
    now, gone = [0.0], []
    sessions = Sessions(ttl_s=30, most_bytes=100, on_end=gone.append, clock=lambda: now[0])

    def opened(name, size):
        return sessions.open(name, Session("sam", b"x" * size, (4, 6)))

    assert opened("closed", 40)
    assert sessions.close("closed", "somebody else") is False
    assert (sessions.close("closed", None), sessions.close("closed", None)) == (True, False)
    assert gone == ["closed"]
    assert opened("too large", 101) is False
    assert opened("crowded out", 60)
    assert opened("old", 60)
    now[0] = 31.0
    assert opened("old", 50)
    assert gone == ["closed", "too large", "crowded out"]
    now[0] = 61.5
    sessions.forget_old()
    assert gone == ["closed", "too large", "crowded out", "old"]
    assert sessions.n_bytes == 0


def test_what_is_too_old_goes_though_nobody_asks():
    async def scenario():
        gone = []
        sessions = Sessions(ttl_s=0.02, most_bytes=100, on_end=gone.append)
        results = Results(ttl_s=0.02, most_bytes=100)
        sessions.open("a", Session("sam", b"x" * 40, (4, 6)))
        results.put("b", {"mask.png": b"x" * 40})
        task = asyncio.create_task(forget_on_time(sessions, results, every_s=0.005))
        for _ in range(10_000):
            if sessions.n_bytes == results.n_bytes == 0:
                break
            await asyncio.sleep(0.001)
        assert (gone, sessions.n_bytes, results.n_bytes) == (["a"], 0, 0)
        task.cancel()
        assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], BaseException)

    asyncio.run(scenario())
