"""Worker threads: bounded, with a deadline, and no work for those who went away."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from mmrerank.service._work import Abandoned, DeadlinePassed, TooBusy, Work, checkpoint
from mmrerank.service.settings import Load


def test_what_the_work_returns_and_raises_comes_back() -> None:
    def fails() -> None:
        raise KeyError("mine")

    async def both() -> None:
        work = Work(Load(workers=2, queue=0))
        assert await work.run(lambda: threading.current_thread().name.startswith("mmrerank"))
        with pytest.raises(KeyError):
            await work.run(fails)
        assert work.taken == 0
        await work.close(1)

    asyncio.run(both())


def test_beyond_workers_and_queue_it_is_too_busy_and_then_free_again() -> None:
    async def many() -> list[object]:
        work, free = Work(Load(workers=2, queue=3)), threading.Event()
        running = [asyncio.ensure_future(work.run(lambda: free.wait(5))) for _ in range(9)]
        await asyncio.sleep(0.05)
        assert work.taken == 5
        free.set()
        came = await asyncio.gather(*running, return_exceptions=True)
        assert await work.run(lambda: "free") == "free"
        await work.close(1)
        return came

    came = asyncio.run(many())
    assert [isinstance(one, TooBusy) for one in came] == [False] * 5 + [True] * 4


def test_after_the_deadline_the_thread_stops_at_its_next_step_and_keeps_its_place_until_then() -> None:
    stopped = threading.Event()

    def slow() -> None:
        try:
            while True:
                time.sleep(0.01)
                checkpoint()
        except Abandoned:
            stopped.set()
            raise

    async def late() -> None:
        work = Work(Load(workers=1, queue=0, timeout_s=0.1))
        with pytest.raises(DeadlinePassed, match=r"0\.1 s"):
            await work.run(slow)
        assert await asyncio.to_thread(stopped.wait, 5)
        for _ in range(500):
            if work.taken == 0:
                break
            await asyncio.sleep(0.01)
        assert await work.run(lambda: "next") == "next"
        await work.close(1)

    asyncio.run(late())


def test_who_went_away_is_not_worked_for() -> None:
    begun: list[str] = []

    async def leaves() -> None:
        work, free = Work(Load(workers=1, queue=5)), threading.Event()
        first = asyncio.ensure_future(work.run(lambda: free.wait(5)))
        await asyncio.sleep(0.05)
        with pytest.raises(Abandoned):
            await work.run(lambda: begun.append("nobody waits"), gone=lambda: asyncio.sleep(0.02))
        staying = asyncio.ensure_future(work.run(lambda: begun.append("stayed"), gone=lambda: asyncio.sleep(60)))
        free.set()
        await asyncio.gather(first, staying)
        await work.close(1)

    asyncio.run(leaves())
    assert begun == ["stayed"]


def test_closing_waits_for_what_runs() -> None:
    done: list[bool] = []

    async def closes() -> None:
        work = Work(Load(workers=1, queue=0))
        running = asyncio.ensure_future(work.run(lambda: (time.sleep(0.2), done.append(True))))
        await asyncio.sleep(0.05)
        await work.close(5)
        await running

    asyncio.run(closes())
    assert done == [True]


def test_outside_of_a_request_a_checkpoint_does_nothing() -> None:
    checkpoint()
