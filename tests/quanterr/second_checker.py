"""A checker that knows docs/certificate-format.md and nothing of quanterr: standard library and numpy's file reader."""

import hashlib
import json
import zipfile
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import numpy as np

Row = list[Fraction]


def exact(array: Any) -> Any:
    return [exact(part) for part in array] if getattr(array, "ndim", 0) else Fraction(array.item())


def times(matrix: list[Row], vector: Row) -> Row:
    return [sum((a * b for a, b in zip(line, vector, strict=True)), Fraction(0)) for line in matrix]


def dot(a: Row, b: Row) -> Fraction:
    return sum((p * q for p, q in zip(a, b, strict=True)), Fraction(0))


def semidefinite(matrix: list[Row]) -> bool:
    """Gaussian elimination without pivoting."""
    rows = [list(row) for row in matrix]
    for k, pivot_row in enumerate(rows):
        pivot = pivot_row[k]
        if pivot < 0 or (pivot == 0 and any(pivot_row[k:])):
            return False
        for row in rows[k + 1 :] if pivot else []:
            factor = row[k] / pivot
            row[k:] = [a - factor * b for a, b in zip(row[k:], pivot_row[k:], strict=True)]
    return True


def least(feasible: dict[str, Any], d: Row, g: Row, t: Row) -> Fraction | None:
    if feasible["set"] == "IntegerBox":
        low, high, total = feasible["low"], feasible["high"], Fraction(0)
        for di, gi, ti in zip(d, g, t, strict=True):
            near = floor(ti - gi / di) if di > 0 else low
            codes = {low, high, *(min(max(c, low), high) for c in (near, near + 1))}
            total += min(di * (c - ti) ** 2 + 2 * gi * (c - ti) for c in codes)
        return total
    pruned = [ti * (di * ti - 2 * gi) for di, gi, ti in zip(d, g, t, strict=True)]
    if feasible["keep"] == 0:
        return sum(pruned, Fraction(0))
    if any(di < 0 or (di == 0 and gi != 0) for di, gi in zip(d, g, strict=True)):
        return None
    kept = [-gi * gi / di if di else Fraction(0) for di, gi in zip(d, g, strict=True)]
    extra = sorted(p - k for p, k in zip(pruned, kept, strict=True))
    return sum(kept, Fraction(0)) + sum(extra[: len(extra) - feasible["keep"]], Fraction(0))


def check(path: Path) -> tuple[int, int]:
    """Row problems checked, and how many of them have a dual bound; AssertionError where a claim is false."""
    archive, npz = zipfile.ZipFile(path), np.load(path, allow_pickle=False)
    header = json.loads(archive.read("header.json"))
    assert archive.comment.decode() == hashlib.sha256(archive.read("header.json")).hexdigest()
    assert all(hashlib.sha256(archive.read(m)).hexdigest() == h for m, h in header["members"].items())
    weight, height, checked, proven = npz["weight"], header["rows"] // header["groups"], 0, 0
    for claim in header["claims"]:
        of = {
            m.split("/")[1][:-4]: npz[m]
            for m in header["members"]
            if m.startswith(f"{claim['method']}-{claim['bits']}/")
        }
        for position, (chunk, feasible) in enumerate(zip(header["chunks"], claim["feasible"], strict=True)):
            columns = slice(*chunk["columns"])
            for row in range(header["rows"]):
                packed = exact(npz[f"gram/{position}"][row // height])
                n = chunk["columns"][1] - chunk["columns"][0]
                gram = [[packed[max(i, j) * (max(i, j) + 1) // 2 + min(i, j)] for j in range(n)] for i in range(n)]
                scale = Fraction(1)
                if claim["scaled"]:
                    scale = exact(of["scale"][row] if of["scale"].ndim == 1 else of["scale"][position, row])
                w, x = exact(weight[row, columns]), exact(of["x"][row, columns])
                step = [scale * a - b for a, b in zip(x, w, strict=True)]
                error = dot(step, times(gram, step))
                if feasible["set"] == "Sparse":
                    assert sum(v != 0 for v in x) <= feasible["keep"]
                else:
                    assert all(v.denominator == 1 and feasible["low"] <= v <= feasible["high"] for v in x)
                assert of["lower"][position, row] <= max(error, 0)
                assert error <= of["upper"][position, row]
                checked += 1
                if claim["proof"]:
                    diagonal = npz[claim["proof"]["diagonal"]]
                    d = exact(diagonal[row // height if len(diagonal) == header["groups"] else row, columns])
                    m = [[v - d[i] * (i == j) for j, v in enumerate(line)] for i, line in enumerate(gram)]
                    y = exact(of["y"][row, columns])
                    g = times(m, y)
                    value = least(feasible, d, g, [v / scale for v in w])
                    if of["dual"][position, row] > 0:
                        assert semidefinite(m) and value is not None  # noqa: PT018 - short
                        assert of["dual"][position, row] <= scale**2 * (value - dot(y, g))
                    proven += 1
                assert not of["by_dual"][position, row] or of["lower"][position, row] <= of["dual"][position, row]
    return checked, proven
