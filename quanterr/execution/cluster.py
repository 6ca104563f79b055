"""Units on a Dask cluster. Dask is loaded only when its caller has loaded it or names a scheduler."""

from __future__ import annotations

import hashlib
import math
import pickle
import platform
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from .. import __version__
from ..errors import QuanterrError
from .workers import one_thread

#: A Gram matrix, or weights, of so many bytes travel by themselves, once for all tasks that share them.
LARGE = 2**20
#: Seconds to wait for a scheduler, and between questions how many workers it has.
PATIENCE, EVERY = 20, 5


class Block:
    """The bytes of an array on their way to the workers.

    Not the array itself: the scheduler would queue all tasks where its only copy is, rather than move so much, and
    leave the other workers idle until the first task is done. A plain object counts as small.
    """

    def __init__(self, content: NDArray[np.uint8]) -> None:
        self.content = content


class _Sent:
    """A future of a `Block`; it keeps the array, so that no other gets its address while it is alive."""

    def __init__(self, future: Any, content: NDArray[np.uint8]) -> None:
        self.future, self.content = future, content


class ClusterExecutor(Executor):
    """The executor of a Dask client, for tasks that share large arrays.

    Raises
    ------
    QuanterrError
        Workers or scheduler that have no quanterr or other versions than this process, by address.
    """

    def __init__(self, executor: Any) -> None:
        self._executor, self.client = executor, executor._client
        self._sent: WeakValueDictionary[tuple[int, int], _Sent] = WeakValueDictionary()
        self._asked, self._workers = -math.inf, 0
        self.require_same_versions()

    @property
    def workers(self) -> int:
        """Threads of all workers, as of the last few seconds; one while none is there."""
        if time.monotonic() > self._asked + EVERY:
            self._asked, self._workers = time.monotonic(), sum(self.client.nthreads().values())
        return max(self._workers, 1)

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        large: list[NDArray[np.uint8]] = []

        def stays(buffer: pickle.PickleBuffer) -> bool:
            content = np.frombuffer(buffer.raw(), dtype=np.uint8)
            if content.nbytes >= LARGE:
                large.append(content)
            return content.nbytes < LARGE

        # as bytes: the scheduler need not look inside
        task = pickle.dumps((fn, args, kwargs), protocol=5, buffer_callback=stays)
        sent = [self._send(content) for content in large]
        future: Future[Any] = self._executor.submit(run_task, versions(), task, *(s.future for s in sent), pure=False)
        future.add_done_callback(lambda _, sent=sent: None)  # type: ignore[misc]  # kept until then
        return future

    def _send(self, content: NDArray[np.uint8]) -> _Sent:
        """As a task, not as scattered data: the scheduler can make it again when its worker is lost."""
        place = content.ctypes.data, content.nbytes
        sent = self._sent.get(place)
        if sent is None or sent.future.cancelled():
            import dask

            with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
                future = self.client.submit(Block, content, pure=False)
            self._sent[place] = sent = _Sent(future, content)
        return sent

    def require_same_versions(self) -> None:
        """Refuse workers, or a scheduler, whose results could differ from this process's."""
        found = {"the scheduler": self.client.run_on_scheduler(versions)}
        found |= {f"worker {name}": v for name, v in self.client.run(versions, on_error="return").items()}
        for place, theirs in found.items():
            if not isinstance(theirs, dict):
                raise QuanterrError(
                    f"{place} cannot run quanterr ({theirs}): install the same version there, "
                    f"{versions()['quanterr']}, and start it again"
                )
            _require_same(versions(), theirs, place)


def run_task(expected: dict[str, str], task: bytes, *blocks: Block) -> Any:
    """What a worker does. Those that came after the start are checked here.

    Raises
    ------
    QuanterrError
        The worker has other versions than the client.
    """
    _require_same(expected, versions(), f"worker on {platform.node()}")
    one_thread()
    fn, args, kwargs = pickle.loads(task, buffers=[block.content for block in blocks])
    return fn(*args, **kwargs)


@cache
def versions() -> dict[str, str]:
    """What the bits of a result depend on."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for path in sorted([*(root / "bounds").rglob("*.py"), *(root / "quanterr").rglob("*.py")]):
        digest.update(path.read_bytes())
    found = {"Python": ".".join(platform.python_version_tuple()[:2])}
    found |= {name: version(name) for name in ("numpy", "numba", "scipy")}
    return found | {"quanterr": f"{__version__} (sources {digest.hexdigest()[:8]})"}


def _require_same(ours: dict[str, str], theirs: dict[str, str], place: str) -> None:
    different = [f"{n} {theirs.get(n)} where this process has {v}" for n, v in ours.items() if theirs.get(n) != v]
    if different:
        raise QuanterrError(f"{place} has {', '.join(different)}: install the same versions, or results could differ")


def adapted(executor: Any) -> ClusterExecutor | None:
    """What a Dask client, or its executor, needs to run tasks; None for everything else."""
    if isinstance(executor, ClusterExecutor):
        return executor
    distributed = sys.modules.get("distributed")
    if distributed is None:
        return None
    if isinstance(executor, distributed.Client):
        executor = executor.get_executor()
    return ClusterExecutor(executor) if isinstance(executor, distributed.cfexecutor.ClientExecutor) else None


@contextmanager
def connected(address: str) -> Iterator[ClusterExecutor]:
    """The workers of a running Dask scheduler.

    Raises
    ------
    QuanterrError
        Dask is not installed, nobody answers, or versions differ.
    """
    from ..models.packages import require

    distributed = require("distributed", "distributed", "pip install quanterr[dask]")
    try:
        # parsed first: a client that failed to start says so again, with a traceback, when it is collected
        distributed.comm.resolve_address(address)
        client = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise QuanterrError(
            f"no Dask scheduler answers at {address} ({error}): start one with `dask scheduler` and pass the address "
            "that it prints"
        ) from error
    with client:
        yield ClusterExecutor(client.get_executor())
