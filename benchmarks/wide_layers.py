"""Whole layers from 384 to 4,096 columns: how do time, memory and the gap grow with columns and rows?

`certify(chunk=None, effort="quick")` at 3 bits, both methods, both sides, one thread, each line in a process of its
own: processor time and the most memory it ever held, input and all, beside what the command line says before it starts
(`execution.forecast.memory`). The layers are synthetic, since no public network of a size that fits here has one of
4,096 inputs: the inputs have a power-law spectrum (eigenvalue 1/k in the basis of a cosine transform), groups of 16
columns share a factor with 30 % of their variance, scales differ by a log-normal factor, and there are 1.5 times as
many samples as columns; weights are Student t with 5 degrees of freedom. Seeded. The largest-trace diagonal, which all
rows share, is set against the interior point that narrow layers use and against cvxpy with SCS, each where it ends
within two minutes; a diagonal counts with what is left of its trace when it is shrunk until a Cholesky factor exists.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import cvxpy
import numpy as np
from scipy.fft import dct

import quanterr
from bounds.relaxation import max_trace
from quanterr.execution.forecast import memory
from quanterr.layers import Layer

from .timing import markdown, processor_seconds

SIZES = ((384, 256), (768, 256), (1536, 32), (1536, 256), (4096, 256))
BITS = 3
GROUP = 16
SEED = 4096
DIAGONALS = {384: True, 768: False, 1536: False}  # columns: whether SCS takes part
SCS_SECONDS = 120.0


def layer(columns: int, rows: int) -> Layer:
    """A synthetic layer; its Gram is summed over batches of inputs."""
    rng = np.random.default_rng(SEED)
    amplitude = np.arange(1, columns + 1) ** -0.5
    amplitude /= np.sqrt((amplitude**2).mean())
    scale = rng.lognormal(sigma=0.25, size=columns)
    samples, gram = 3 * columns // 2, np.zeros((columns, columns))
    for first in range(0, samples, 512):
        count = min(512, samples - first)
        inputs = np.sqrt(0.7) * dct(rng.normal(size=(count, columns)) * amplitude, axis=1, norm="ortho")
        inputs += np.sqrt(0.3) * np.repeat(rng.normal(size=(count, columns // GROUP)), GROUP, axis=1)
        inputs *= scale
        gram += inputs.T @ inputs
    weight = rng.standard_t(5, size=(rows, columns)) / np.sqrt(columns)
    return Layer(f"{columns}", weight, gram / samples, samples=samples)


def measure(columns: int, rows: int) -> list[str]:
    """One line of the table, in a fresh process."""
    made = layer(columns, rows)
    quanterr.certify([layer(384, 8)], bits=(BITS,), chunk=None, effort="quick")  # compiles
    began = time.process_time()
    report = quanterr.certify([made], bits=(BITS,), chunk=None, effort="quick")
    seconds = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    gaps = {r.method: 10 * np.log10(r.error_upper / r.error_lower) for r in report.records}
    cells = [
        f"{seconds:.0f} s",
        f"{seconds / rows:.2f} s",
        f"{peak:.0f} MiB",
        f"{memory([made], None) / 2**20:.0f} MiB",
    ]
    return [str(columns), str(rows), *cells, *(f"{gaps[method]:.2f}" for method in ("quantization", "pruning"))]


def diagonals(columns: int, with_scs: bool) -> list[str]:
    """Time and trace of three ways to the same diagonal, in a fresh process; traces as shares of the Gram's."""
    gram = layer(columns, 1).gram
    cells = []
    for wide in (0, columns):
        max_trace.WIDE = wide
        max_trace.max_trace_diagonal(gram[:64, :64])
        seconds, found = processor_seconds(lambda: max_trace.max_trace_diagonal(gram))
        cells += [f"{seconds:.1f} s", f"{found.sum() / np.trace(gram):.5f}"]
    if not with_scs:
        return [str(columns), *cells, "", ""]
    d = cvxpy.Variable(columns, nonneg=True)
    programme = cvxpy.Problem(cvxpy.Maximize(cvxpy.sum(d)), [gram - cvxpy.diag(d) >> 0])
    seconds, _ = processor_seconds(lambda: programme.solve(solver=cvxpy.SCS, time_limit_secs=SCS_SECONDS))
    if d.value is None:
        return [str(columns), *cells, f"{seconds:.0f} s", "none"]
    share, found = 1.0, np.maximum(d.value, 0.0)
    while np.linalg.eigvalsh(gram - share * np.diag(found))[0] <= 0:
        share *= 0.99
    return [str(columns), *cells, f"{seconds:.0f} s", f"{share * found.sum() / np.trace(gram):.5f}"]


def apart(work: Callable[..., list[str]], *arguments: object) -> list[str]:
    """The result of `work` in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def run() -> str:
    """Both tables."""
    growth = markdown(
        ["columns", "rows", "time", "a row", "peak", "announced", "gap of integers, dB", "gap of pruning, dB"],
        [apart(measure, columns, rows) for columns, rows in SIZES],
    )
    header = ["columns", "low rank", "trace", "interior point", "trace", "cvxpy + SCS", "trace"]
    return f"{growth}\n\n{markdown(header, [apart(diagonals, *each) for each in DIAGONALS.items()])}"
