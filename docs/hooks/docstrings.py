"""House style of docstrings, read as numpydoc: what follows the colon may be a shape, a type, or plain words.

    gram : (columns, columns), weight : (rows, columns)     two parameters, each with a shape
    keep : weights left in each row                         no type: the annotation of the signature stands
    Returns
    (rows, columns) codes, float64                          a type, then words

A sentence at the margin below the items is text of the docstring, not an item.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ITEMS = {"Parameters", "Attributes", "Other Parameters"}
RESULTS = {"Returns", "Yields"}
RULE = re.compile(r"-{3,}")
NAMES = r"\*{0,2}\w+(?:, \*{0,2}\w+)*"
#: What joins the names of types; those in capitals are told by their first letter.
WORD = re.compile(
    r"a|an|and|any|array|arrays|bool|bounds|by|callable|dict|each|float|float32|float64|for|from|generator"
    r"|globs|int|iterable|list|mapping|matrix|module|nn|number|numpy|objects|of|one|optional|relaxation|search|or|path|sequence"
    r"|set|shape|str|string|tensor|text|to|torch|tuple"
    r"|[0-9]+|[A-Z]\w*"
)


def _is_type(text: str) -> bool:
    """True for shapes, names of types and what joins them."""
    words = re.findall(r"\w+", re.sub(r"\([^()]*\)|\[[^][]*\]|\{[^{}]*\}|\"[^\"]*\"|[∞π√]", "", text))
    return all(map(WORD.fullmatch, words))


def _split(text: str) -> tuple[str, str]:
    """The type and the words in what follows a colon."""
    if text[0].isdigit():
        return "", text
    if _is_type(text):
        return text.replace("`", ""), ""
    shape = re.match(r"\([^()]*\)(?:, or \([^()]*\))?", text)
    cuts = [match.start() for match in re.finditer(r"[,:;]", text)]
    if shape:
        cuts.append(shape.end())
    cut = max((cut for cut in cuts if _is_type(text[:cut])), default=0)
    return text[:cut].replace("`", ""), text[cut:].lstrip(" ,:;")


def _item(line: str, following: str) -> list[str]:
    """`a : x, b : y words` → a line for each name, followed by its words, as a sentence if another one follows."""
    parts = re.split(rf"(?:^|, )({NAMES}) : ", line)
    lines: list[str] = []
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        kind, words = _split(text)
        lines += [f"{name} : {kind}" if kind else name] + ([f"    {words}"] if words else [])
    new_sentence = following.startswith(" ") and not following.strip()[0].islower()
    if new_sentence and lines[-1].startswith(" ") and lines[-1][-1] not in ".,:;":
        lines[-1] += "."
    return lines


def normalise(text: str) -> str:
    """A docstring with its sections as numpydoc wants them."""
    lines = text.split("\n")
    before: list[str] = []
    after: list[str] = []
    section = ""
    for previous, line, following in zip(["", *lines], lines, [*lines[1:], ""], strict=False):
        if line and RULE.fullmatch(following):
            section = line
        if not section:
            before.append(line)
        elif line == section or RULE.fullmatch(line) or not line or line.startswith(" "):
            after.append(line)
        elif section in ITEMS | RESULTS and re.match(rf"{NAMES} : ", line):
            after += _item(line, following)
        elif (section in ITEMS and not re.fullmatch(NAMES, line)) or (section in RESULTS and not previous):
            before.append(line)
        elif section in RESULTS and not RULE.fullmatch(previous):
            after.append(f"    {line}")  # goes on with the words of the line above
        elif section in RESULTS and not _is_type(line):
            kind, words = _split(line)
            after += [kind, f"    {words}"] if kind else [line]
        else:
            after.append(line)
    return "\n".join([*before, "", *after])


class HouseStyle(griffe.Extension):
    """Normalise every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by griffe for each object it has read."""
        if obj.docstring and re.search(r"^-{3,}$", obj.docstring.value, re.MULTILINE):
            obj.docstring.value = normalise(obj.docstring.value)
