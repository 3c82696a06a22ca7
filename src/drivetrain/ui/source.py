"""The text of a part's function, and of other code, coloured for the page."""

from __future__ import annotations

import builtins
import inspect
import io
import keyword
import token
import tokenize
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from drivetrain.system.part import Part

_STRINGS = {
    token.STRING,
    *(getattr(token, name) for name in ("FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END") if hasattr(token, name)),
}


def source_of(part: Part) -> str:
    """Return the source of the part's function; empty where it has none or its file is gone."""
    function = part.function_of()
    if function is None:
        return ""
    try:
        return inspect.getsource(inspect.unwrap(function))
    except (OSError, TypeError):
        return ""


def coloured(text: str) -> Markup:
    """Return Python code as HTML with a class for each kind of word; other text as it is.

    >>> coloured("return 1")
    Markup('<span class="c-word">return</span> <span class="c-number">1</span>')
    """
    lines = text.splitlines(keepends=True)
    drawn, row, column = [], 1, 0
    previous = ""
    try:
        for each in tokenize.generate_tokens(io.StringIO(text).readline):
            if each.start < (row, column) or not each.string:
                continue
            drawn.append(escape(_between(lines, (row, column), each.start)))
            kind = _kind(each, previous)
            piece = escape(each.string)
            drawn.append(Markup('<span class="c-{}">{}</span>').format(kind, piece) if kind else piece)
            row, column = each.end
            previous = each.string
    except (tokenize.TokenError, IndentationError, SyntaxError):
        pass
    drawn.append(escape(_between(lines, (row, column), (len(lines) + 1, 0))))
    return Markup("").join(drawn)


def _kind(each: tokenize.TokenInfo, previous: str) -> str:
    if each.type == token.COMMENT:
        return "comment"
    if each.type in _STRINGS:
        return "string"
    if each.type == token.NUMBER:
        return "number"
    if each.type == token.NAME:
        if keyword.iskeyword(each.string):
            return "word"
        if previous in ("def", "class"):
            return "name"
        if hasattr(builtins, each.string):
            return "known"
    return "decorator" if previous == "@" or each.string == "@" else ""


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    (row, column), (to_row, to_column) = start, end
    if row > len(lines):
        return ""
    if row == to_row:
        return lines[row - 1][column:to_column]
    middle = "".join(lines[row : to_row - 1])
    tail = lines[to_row - 1][:to_column] if to_row <= len(lines) else ""
    return lines[row - 1][column:] + middle + tail
