"""Estimates of time: what is measured on the way counts, whatever the first guess was."""

import heapq
import itertools

import numpy as np
import pytest

from quanterr.contestants import at_storage
from quanterr.execution import _ordered
from quanterr.forecast import Forecast, kind, work
from quanterr.plan import units
from quanterr.units import Unit

from .conftest import make_layer

RIVALS = tuple(itertools.chain(*zip(*(at_storage(bits) for bits in (2, 4)), strict=True)))


def plan() -> list[Unit]:
    """Chunks of several widths, depthwise layers and whole layers, cheap and dear."""
    layers = [make_layer("a", 900, 36), make_layer("b", 400, 100), make_layer("c", 600, 9, groups=300)]
    chunked = [unit for layer in layers for unit in units(layer, RIVALS, 36, "mse", None)]
    return chunked + list(units(make_layer("d", 1500, 70), RIVALS, None, "mse", None))


def test_before_anything_is_done_the_guess_is_told() -> None:
    found = plan()
    forecast = Forecast(found)
    assert forecast.left == pytest.approx(sum(map(work, found)))
    assert forecast.wall_time(4) == pytest.approx(forecast.left / 4)
    for unit in found[:3]:
        forecast.drop(unit)
    assert forecast.left == pytest.approx(sum(map(work, found[3:])))


def test_one_of_each_kind_comes_first_then_the_dearest() -> None:
    found = plan()
    ordered = _ordered(found)
    assert sorted(map(id, ordered)) == sorted(map(id, found))
    kinds = len(set(map(kind, found)))
    assert len(set(map(kind, ordered[:kinds]))) == kinds
    rest = [work(unit) for unit in ordered[kinds:]]
    assert rest == sorted(rest, reverse=True)


@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("seed", range(5))
def test_the_estimate_is_good_soon(workers: int, seed: int) -> None:
    """Guesses wrong by up to ten times either way for every kind, each unit by its own luck, cores that are shared."""
    rng = np.random.default_rng(seed)
    startup, slow = rng.uniform(0, 20), rng.uniform(1, 8)
    ordered = _ordered(plan())
    wrong = {name: 10 ** rng.uniform(-1, 1) for name in dict.fromkeys(map(kind, ordered))}
    truth = [work(unit) * wrong[kind(unit)] * rng.lognormal(0, 0.4) for unit in ordered]
    forecast = Forecast(ordered)
    queue, flying, now, told = list(zip(truth, range(len(ordered)), strict=True))[::-1], [], 0.0, []
    while queue or flying:
        while queue and len(flying) < workers:
            seconds, index = queue.pop()
            heapq.heappush(flying, (now + seconds, index))
        now, index = heapq.heappop(flying)
        forecast.add(ordered[index], truth[index], startup + slow * now)
        told.append((now, forecast.wall_time(workers) / slow))
    late = [(at, left) for at, left in told if 0.25 * now < at < 0.9 * now]
    assert late
    assert all(0.5 < (at + left) / now < 2 for at, left in late)
    assert forecast.left == pytest.approx(0, abs=1e-9 * now)
