"""Local worker processes: one thread each, deaf to Ctrl-C so that the parent decides, gone with the parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from threadpoolctl import threadpool_limits


class InlineExecutor(Executor):
    """Runs each task at once in this process."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threadpool_limits(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """A parent that is killed cannot tell its workers: they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def local_executor(jobs: int) -> Iterator[Executor]:
    """An executor with `jobs` processes (this process when 1); workers stop at once when it is left early."""
    if jobs <= 1:
        with threadpool_limits(1):
            yield InlineExecutor()
        return
    # spawn: forking a process that holds torch's or BLAS's threads can deadlock
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker)
    try:
        yield pool
    except BaseException:
        workers = list((pool._processes or {}).values())
        queue = getattr(pool, "_call_queue", None)
        if queue is not None:
            # its thread may be in the middle of writing a unit that nobody will read any more
            queue.cancel_join_thread()
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()
        raise
    pool.shutdown()
