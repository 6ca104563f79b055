"""Estimates of time: what is measured on the way counts, whatever the first guess was."""

import heapq
import itertools

import numpy as np
import pytest

from quanterr.contestants import at_storage
from quanterr.execution.forecast import Forecast, kind, work
from quanterr.execution.running import _ordered
from quanterr.plan import units
from quanterr.units import Unit

from .conftest import make_layer

RIVALS = tuple(itertools.chain(*zip(*(at_storage(bits) for bits in (2, 4)), strict=True)))


def plan() -> list[Unit]:
    """Chunks of several widths, depthwise layers and whole layers, cheap and dear."""
    layers = [make_layer("a", 4000, 36), make_layer("b", 1500, 108), make_layer("c", 1500, 9, groups=750)]
    chunked = [unit for layer in layers for unit in units(layer, RIVALS, 36, "mse", None)]
    return chunked + list(units(make_layer("d", 4000, 70), RIVALS, None, "mse", None))


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
def test_the_estimate_is_good_soon(workers: int) -> None:
    """Guesses wrong by up to ten times either way for every kind, each unit by its own luck, cores that are shared."""
    ordered = _ordered(plan())
    ratios = np.concatenate([_told(ordered, workers, np.random.default_rng(seed)) for seed in range(20)])
    assert len(ratios) > 500
    assert np.mean((ratios > 0.5) & (ratios < 2)) > 0.97


def _told(ordered: list[Unit], workers: int, rng: np.random.Generator) -> list[float]:
    """A simulated run: its length as told over its length, at every unit done from a quarter to nine tenths of it."""
    startup, slow = rng.uniform(0, 20), rng.uniform(1, 8)
    wrong = {name: 10 ** rng.uniform(-1, 1) for name in dict.fromkeys(map(kind, ordered))}
    truth = [work(unit) * wrong[kind(unit)] * rng.lognormal(0, 0.4) for unit in ordered]
    forecast = Forecast(ordered)
    queue, now = list(zip(truth, range(len(ordered)), strict=True))[::-1], 0.0
    flying: list[tuple[float, int]] = []
    told: list[tuple[float, float]] = []
    while queue or flying:
        while queue and len(flying) < workers:
            seconds, index = queue.pop()
            heapq.heappush(flying, (now + seconds, index))
        now, index = heapq.heappop(flying)
        forecast.add(ordered[index], truth[index], startup + slow * now)
        told.append((now, forecast.wall_time(workers) / slow))
    assert forecast.left == pytest.approx(0, abs=1e-9 * now)
    return [(at + left) / now for at, left in told if 0.25 * now < at < 0.9 * now]
