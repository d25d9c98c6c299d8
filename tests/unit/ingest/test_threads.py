"""The small pieces the ingest is made of: order, bounds, errors, ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from mmrerank.ingest.threads import BackgroundWriter, StageClock, in_background, ordered_map


def test_background_values_keep_their_order() -> None:
    assert list(in_background(range(100), ahead=3)) == list(range(100))


def test_background_runs_ahead_by_no_more_than_asked() -> None:
    produced: list[int] = []

    def values() -> Iterator[int]:
        for n in range(50):
            produced.append(n)
            yield n

    consumer = in_background(values(), ahead=4)
    assert next(consumer) == 0
    time.sleep(0.3)
    assert len(produced) <= 1 + 4 + 1  # consumed, waiting, in hand
    consumer.close()  # type: ignore[attr-defined]
    assert len(produced) < 50


def test_a_background_error_reaches_the_consumer_after_what_came_before() -> None:
    def values() -> Iterator[int]:
        yield 1
        raise KeyError("broken")

    consumer = in_background(values(), ahead=4)
    assert next(consumer) == 1
    with pytest.raises(KeyError, match="broken"):
        next(consumer)


def test_ordered_map_keeps_the_order_whatever_takes_longest() -> None:
    def slow_first(n: int) -> int:
        time.sleep(0.05 if n == 0 else 0)
        return n * n

    assert list(ordered_map(slow_first, range(20), workers=4, in_flight=8)) == [n * n for n in range(20)]


def test_ordered_map_hands_on_an_error() -> None:
    with pytest.raises(ZeroDivisionError):
        list(ordered_map(lambda n: 1 // n, [1, 0, 1], workers=2, in_flight=2))


def test_the_writer_writes_everything_in_order_and_in_groups() -> None:
    groups: list[list[int]] = []
    writer: BackgroundWriter[int] = BackgroundWriter(groups.append, size=4, after_s=60)
    for n in range(10):
        writer.put(n)
    writer.close()
    assert [n for group in groups for n in group] == list(range(10))
    assert [len(group) for group in groups] == [4, 4, 2]


def test_an_error_of_the_writing_is_raised_and_nothing_blocks() -> None:
    def broken(group: list[int]) -> None:
        raise OSError("disk full")

    writer: BackgroundWriter[int] = BackgroundWriter(broken, size=1, after_s=60)
    with pytest.raises(OSError, match="disk full"):  # noqa: PT012
        for n in range(1000):
            writer.put(n)
        writer.close()


def test_the_clock_adds_up_over_threads() -> None:
    clock = StageClock()

    def work() -> None:
        with clock.working("decode"):
            time.sleep(0.02)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.seconds["decode"] >= 0.06
