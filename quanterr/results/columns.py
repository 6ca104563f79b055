"""Tables of names and numbers for terminals of any width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import zip_longest

from rich.markup import escape
from rich.text import Text


def aligned(
    what: str, heads: Sequence[str], rows: Iterable[tuple[str, Sequence[Sequence[str]]]], width: int
) -> list[str]:
    """Lines of markup: `what` over the names, `heads` over right-aligned columns, a rule, and every row.

    A row is a name and its cells, each of one or more lines. Names too long for `width` characters stand above their
    row, whole, so that none is broken and no column is lost.
    """
    table = list(rows)
    sizes = [len(head) for head in heads]
    for _, cells in table:
        sizes = [max(size, *map(_length, lines)) for size, lines in zip(sizes, cells, strict=True)]
    names = max(len(what), *(len(name) for name, _ in table)) if table else len(what)
    room = min(names, max(0, width - sum(sizes) - len(sizes)))
    gap = 2 if room == names and names + sum(sizes) + 2 * len(sizes) <= width else 1
    lines = [_line(what if room >= len(what) else "", room, heads, sizes, gap)]
    lines.append("─" * (room + sum(sizes) + gap * len(sizes)))
    for name, cells in table:
        if len(name) > room:
            lines.append(escape(name))
        for number, parts in enumerate(zip_longest(*cells, fillvalue="")):
            lines.append(_line(name if number == 0 and len(name) <= room else "", room, parts, sizes, gap))
    return lines


def _line(name: str, room: int, parts: Iterable[str], sizes: list[int], gap: int) -> str:
    """A name to the left, everything else to the right of its column."""
    filled = (" " * (gap + size - _length(part)) + part for part, size in zip(parts, sizes, strict=True))
    return escape(name) + " " * (room - len(name)) + "".join(filled)


def _length(markup: str) -> int:
    return Text.from_markup(markup).cell_len
