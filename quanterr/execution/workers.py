"""Workers with one thread each: local processes that are deaf to Ctrl-C and gone with the parent, or any executor."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

from threadpoolctl import threadpool_limits

from ..errors import QuanterrError


class InlineExecutor(Executor):
    """Runs each task at once in this process."""

    workers = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class LocalProcesses(Executor):
    """`jobs` processes of this machine, started by the first task; `stop` ends them, the next task starts others."""

    def __init__(self, jobs: int) -> None:
        self.workers = jobs
        self._pool: ProcessPoolExecutor | None = None

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        if self._pool is None:
            # spawn: forking a process that holds torch's or BLAS's threads can deadlock
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=_start_worker)
        return self._pool.submit(fn, *args, **kwargs)

    def stop(self) -> None:
        """End all processes at once; what they were doing is lost."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        processes = list((pool._processes or {}).values())
        queue = getattr(pool, "_call_queue", None)
        if queue is not None:
            # its thread may be in the middle of writing a unit that nobody will read any more
            queue.cancel_join_thread()
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait, cancel_futures=cancel_futures)


class SingleThreaded(Executor):
    """Another's executor, whose workers get one thread each where they are processes of their own."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.workers = count(executor)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self._executor.submit(run_single_threaded, os.getpid(), fn, *args, **kwargs)


def run_single_threaded(home: int, fn: Any, *args: Any) -> Any:
    """Call `fn` in a process that was set to one thread, unless it is the process `home`, which sees to itself."""
    if os.getpid() != home:
        one_thread()
    return fn(*args)


@cache
def one_thread() -> None:
    """Linear algebra in this process uses one thread from now on: workers that share cores only slow each other."""
    import scipy.linalg  # noqa: F401 - what is not loaded yet would not be limited

    threadpool_limits(1)


def count(executor: Executor) -> int:
    """How many tasks run beside the caller, as far as the executor tells; else one."""
    found = getattr(executor, "workers", getattr(executor, "_max_workers", 1))
    return found if isinstance(found, int) else 1


def leave(executor: Executor, futures: Iterable[Future[Any]]) -> None:
    """Nobody waits for these any more: local processes are stopped; of other executors, only what has not begun."""
    if isinstance(executor, LocalProcesses):
        executor.stop()
        return
    for future in futures:
        future.cancel()


def died(error: BaseException) -> bool:
    """Whether an error says that a worker is gone: of any executor, Dask's by its name so as not to load it."""
    return isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker"


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    one_thread()
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """A parent that is killed cannot tell its workers: they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def workers(executor: Executor | None, jobs: int) -> Iterator[Executor]:
    """Where tasks go: the given executor (or Dask client), or `jobs` local processes (this process when 1).

    Local processes stop at once when it is left early.

    Raises
    ------
    QuanterrError
        Fewer than one job.
    """
    if executor is not None:
        from .cluster import adapted

        # threads of this process are workers too
        with threadpool_limits(1):
            yield adapted(executor) or SingleThreaded(executor)
        return
    if jobs < 1:
        raise QuanterrError(f"jobs = {jobs} processes: use 1 or more")
    if jobs == 1:
        with threadpool_limits(1):
            yield InlineExecutor()
        return
    pool = LocalProcesses(jobs)
    try:
        yield pool
    except BaseException:
        pool.stop()
        raise
    pool.shutdown()
