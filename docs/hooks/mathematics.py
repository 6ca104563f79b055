"""Formulas become MathML when the site is built: browsers draw it themselves, without scripts or a network."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING, Any

from latex2mathml.converter import convert

if TYPE_CHECKING:
    from mkdocs.structure.pages import Page

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(text: str, page: Page, **_: Any) -> str:
    """Replace what `pymdownx.arithmatex` has marked."""

    def mathml(match: re.Match[str]) -> str:
        tag, display = match[1], "block" if match[2] == "[" else "inline"
        return f'<{tag} class="formula">{convert(html.unescape(match[3]), display=display)}</{tag}>'

    return FORMULA.sub(mathml, text)
