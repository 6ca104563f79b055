"""Formulas become MathML when the site is built: browsers draw it themselves, without scripts or a network."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

from latex2mathml.converter import convert

if TYPE_CHECKING:
    from mkdocs.structure.pages import Page

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)
#: Relations and floors that the converter takes for letters; ∞ and ∅ are letters.
RELATION = re.compile(r"<mi>(&#x0(?:2[1-2A]|230)[0-9A-F]{1,2};)</mi>")
LETTERS = ("&#x0221E;", "&#x02205;")


def _mathml(tex: str, display: str) -> str:
    text = convert(tex, display=display)
    text = RELATION.sub(lambda found: found[0] if found[1] in LETTERS else f"<mo>{found[1]}</mo>", text)
    return re.sub(r"<mo>(&#x0(?:2016|007C|230[8-B]);)", r'<mo stretchy="false">\1', text)


def on_page_content(text: str, page: Page, **_: Any) -> str:
    """Replace what `pymdownx.arithmatex` has marked."""

    def mathml(match: re.Match[str]) -> str:
        tag, display = match[1], "block" if match[2] == "[" else "inline"
        return f'<{tag} class="formula">{_mathml(html.unescape(match[3]), display)}</{tag}>'

    return FORMULA.sub(mathml, text)
