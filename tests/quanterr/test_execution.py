"""Tasks through local processes: a budget of time, and what becomes of those in flight when it ends."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event

from quanterr.execution.running import spread
from quanterr.execution.workers import LocalProcesses, workers


def test_local_processes_are_stopped_when_time_is_over_and_start_again() -> None:
    with workers(None, 2) as pool:
        assert isinstance(pool, LocalProcesses)
        assert [future.result() for _, future in spread(math.sqrt, [4.0], pool, lambda _: 0)] == [2.0]
        began = time.monotonic()
        naps = [600.0] * 3
        assert list(spread(time.sleep, naps, pool, lambda _: 0, until=began + 0.5)) == []
        assert time.monotonic() - began < 300  # a nap was not waited for
        found = {task: future.result() for task, future in spread(math.sqrt, [1.0, 9.0], pool, lambda _: 0)}
        assert found == {1.0: 1.0, 9.0: 3.0}


def test_of_another_executor_only_what_has_not_begun_is_given_up() -> None:
    ended = Event()
    with ThreadPoolExecutor(1) as pool:
        tasks = [partial(ended.wait, 60.0), partial(ended.wait, 60.0)]
        submitted = []
        original = pool.submit

        def submit(*args):  # type: ignore[no-untyped-def]
            submitted.append(original(*args))
            return submitted[-1]

        pool.submit = submit  # type: ignore[method-assign]
        assert list(spread(_call, tasks, pool, lambda _: 0, until=time.monotonic() + 0.2)) == []
        ended.set()
        assert len(submitted) == 2
        assert submitted[0].result() is True
        assert all(future.cancelled() for future in submitted[1:])


def test_what_is_at_hand_is_given_even_if_the_time_is_over_and_nothing_else_begins() -> None:
    end = time.monotonic() + 0.2
    with workers(None, 1) as pool:
        tasks = [partial(_until, end), partial(_until, end)]
        assert [future.result() for _, future in spread(_call, tasks, pool, lambda _: 0, until=end)] == [True]
        assert list(spread(_call, tasks, pool, lambda _: 0, until=end)) == []


def _until(end: float) -> bool:
    while time.monotonic() <= end:
        time.sleep(0.01)
    return True


def _call(task: partial[bool]) -> bool:
    return task()
