"""Units on a Dask cluster. Dask is loaded only when its caller has loaded it or names a scheduler."""

from __future__ import annotations

import hashlib
import pickle
import platform
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from bounds.gram import Array

from . import __version__
from .errors import QuanterrError
from .units import Unit
from .workers import one_thread

#: Gram matrices, or weights, of a unit travel by themselves from so many bytes on, once for all units that share them.
LARGE = 2**20
#: Seconds to wait for a scheduler.
PATIENCE = 20
ELSEWHERE = np.zeros((0, 0))


class Arrays:
    """Arrays on their way to the workers.

    Not a bare tuple: the scheduler would queue all units where its only copy is, rather than move so many bytes, and
    leave the other workers idle until the first unit is done. A plain object counts as small.
    """

    def __init__(self, arrays: tuple[Array, ...]) -> None:
        self.arrays = arrays


class _Sent:
    """A future of `Arrays`; it keeps them, so that no others get their identities while it is alive."""

    def __init__(self, future: Any, arrays: tuple[Array, ...]) -> None:
        self.future, self.arrays = future, arrays


class ClusterExecutor(Executor):
    """A Dask client, or the executor of one, for functions whose first argument is a `Unit`.

    Raises
    ------
    QuanterrError
        Workers or scheduler that have no quanterr or other versions than this process, by address.
    """

    def __init__(self, executor: Any) -> None:
        self._executor, self.client = executor, executor._client
        self._sent: WeakValueDictionary[tuple[int, ...], _Sent] = WeakValueDictionary()
        self.require_same_versions()

    @property
    def workers(self) -> int:
        """Threads of all workers that are there now."""
        return sum(self.client.nthreads().values())

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        unit: Unit = args[0]
        grams = self._send(tuple(piece.gram for piece in unit.pieces))
        weights = self._send(tuple(piece.weight for piece in unit.pieces))
        if grams is not None:
            unit = _with(unit, "gram", [ELSEWHERE] * len(unit.pieces))
        if weights is not None:
            unit = _with(unit, "weight", [ELSEWHERE] * len(unit.pieces))
        # as bytes: the scheduler need not look inside
        task = pickle.dumps((fn, unit, args[1:]), protocol=5)
        there = [None if sent is None else sent.future for sent in (grams, weights)]
        future: Future[Any] = self._executor.submit(run_unit, versions(), task, *there, pure=False)
        future.add_done_callback(lambda _, sent=(grams, weights): None)  # type: ignore[misc]  # kept until then
        return future

    def _send(self, arrays: tuple[Array, ...]) -> _Sent | None:
        """As a task, not as scattered data: the scheduler can make it again when its worker is lost."""
        if sum(array.nbytes for array in arrays) < LARGE:
            return None
        place = tuple(map(id, arrays))
        sent = self._sent.get(place)
        if sent is None or sent.future.cancelled():
            import dask

            with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
                future = self.client.submit(Arrays, arrays, pure=False)
            self._sent[place] = sent = _Sent(future, arrays)
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


def run_unit(expected: dict[str, str], task: bytes, grams: Arrays | None, weights: Arrays | None) -> Any:
    """What a worker does. Those that came after the start are checked here.

    Raises
    ------
    QuanterrError
        The worker has other versions than the client.
    """
    _require_same(expected, versions(), f"worker on {platform.node()}")
    one_thread()
    fn, unit, more = pickle.loads(task)
    if grams is not None:
        unit = _with(unit, "gram", grams.arrays)
    if weights is not None:
        unit = _with(unit, "weight", weights.arrays)
    return fn(unit, *more)


def _with(unit: Unit, name: str, arrays: Iterable[Array]) -> Unit:
    """The unit with other arrays of that name in its pieces."""
    pieces = zip(unit.pieces, arrays, strict=True)
    return replace(unit, pieces=tuple(replace(piece, **{name: array}) for piece, array in pieces))  # type: ignore[arg-type]


@cache
def versions() -> dict[str, str]:
    """What the bits of a result depend on."""
    root = Path(__file__).parent.parent
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
    """What a Dask client, or its executor, needs to run units; None for everything else."""
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
    from .models.packages import require

    distributed = require("distributed", "distributed", "pip install quanterr[dask]")
    try:
        client = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise QuanterrError(
            f"no Dask scheduler answers at {address} ({error}): start one with `dask scheduler` and pass the address "
            "that it prints"
        ) from error
    with client:
        yield ClusterExecutor(client.get_executor())
