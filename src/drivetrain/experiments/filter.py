"""The language of filters: `quality.auc > 0.7 and (tag = best or started > 7d) and not reason ~ "try"`.

A comparison is a name, an operator and a value; `and`, `or`, `not` and parentheses join them. Text with spaces or
signs is quoted. What the names are, and what fits them, is known to `query`.
"""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from drivetrain.errors import BadFilter

MOST_CHARACTERS = 2000
DEEPEST = 50
OPERATORS = ("<=", ">=", "!=", "!~", "=", "<", ">", "~")
Operator = Literal["<=", ">=", "!=", "!~", "=", "<", ">", "~"]
# What may stand before a name in parentheses: of a curve, the least, greatest or last value.
AGGREGATES = ("min", "max", "last")
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<operator><=|>=|!=|!~|==|=|<|>|~)
    |(?P<paren>[()])
    |(?P<word>[^\s()=<>!~"',]+)""",
    re.VERBOSE | re.DOTALL,
)


class Token(msgspec.Struct, frozen=True):
    """A word, text, operator or parenthesis, and where it stands."""

    kind: str
    text: str
    start: int
    end: int


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison; a value that is a word may be a number, and one in quotes is text."""

    name: Token
    aggregate: str = ""
    operator: Operator
    value: Token


class Not(msgspec.Struct, frozen=True):
    """The opposite."""

    inner: Expression


class Both(msgspec.Struct, frozen=True):
    """All of several."""

    parts: list[Expression]


class Either(msgspec.Struct, frozen=True):
    """At least one of several."""

    parts: list[Expression]


Expression = Comparison | Not | Both | Either


def parse(text: str) -> Expression:
    """Return a filter as a tree.

    >>> parse("quality.auc > 0.7").operator
    '>'

    Raises:
        BadFilter: it cannot be understood; the message points at the place.
    """
    if len(text) > MOST_CHARACTERS:
        raise BadFilter(
            filter=text[:40] + "…",
            start=40,
            found=f"the filter is {len(text)} characters long",
            right=f"keep to {MOST_CHARACTERS}",
        )
    hidden = next((at for at, each in enumerate(text) if not each.isprintable() and not each.isspace()), None)
    if hidden is not None:
        raise BadFilter(filter=text, start=hidden, found="here is a character that cannot be shown", right="remove it")
    return _Parser(text).parsed()


def parse_name(text: str) -> tuple[Token, str]:
    """Return a name alone, as it is sorted by or shown: `quality.auc`, `min(lateness.loss)`.

    Raises:
        BadFilter: it is not one name.
    """
    parser = _Parser(text)
    found = parser.name()
    parser.expect_end("nothing after the name")
    return found


class _Parser:
    """Reads one filter from left to right; each method takes what it is named after."""

    def __init__(self, text: str) -> None:
        self.text, self.place, self.depth = text, 0, 0
        self.tokens: list[Token] = []
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                is_quote = text[at] in "\"'"
                raise BadFilter(
                    filter=text,
                    start=at,
                    length=len(text) - at if is_quote else 1,
                    found="the text has no end" if is_quote else f"{text[at]!r} does not belong here",
                    right="close it with the same quote" if is_quote else "put text with signs in it into quotes",
                )
            if match.lastgroup != "space":
                self.tokens.append(Token(str(match.lastgroup), match[0], at, match.end()))
            at = match.end()

    def parsed(self) -> Expression:
        found = self.either()
        self.expect_end("join comparisons with `and` or `or`")
        return found

    def expect_end(self, right: str) -> None:
        token = self.next
        if token is not None:
            raise self.wrong(token, f"{token.text!r} is too much", right)

    @property
    def next(self) -> Token | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def either(self) -> Expression:
        parts = [self.both()]
        while self.takes("or"):
            parts.append(self.both())
        return parts[0] if len(parts) == 1 else Either(parts)

    def both(self) -> Expression:
        parts = [self.single()]
        while self.takes("and"):
            parts.append(self.single())
        return parts[0] if len(parts) == 1 else Both(parts)

    def single(self) -> Expression:
        if (token := self.next) is not None and self.takes("not"):
            return Not(self.deeper(token))
        if token is not None and token.kind == "paren" and token.text == "(":
            self.place += 1
            found = self.deeper(token, inside=True)
            closing = self.next
            if closing is None or closing.text != ")" or closing.kind != "paren":
                raise self.wrong(closing or token, "this parenthesis is not closed", "close it with )")
            self.place += 1
            return found
        return self.comparison()

    def deeper(self, token: Token, *, inside: bool = False) -> Expression:
        self.depth += 1
        if self.depth > DEEPEST:
            raise self.wrong(token, f"the filter is more than {DEEPEST} deep", "take some of the parentheses out")
        found = self.either() if inside else self.single()
        self.depth -= 1
        return found

    def comparison(self) -> Expression:
        name, aggregate = self.name()
        operator = self.next
        if operator is None or operator.kind != "operator":
            raise self.wrong(
                operator, f"{name.text!r} is compared with nothing", f"write {name.text} > 0.7; the operators are "
                f"{' '.join(OPERATORS)}", after=name,
            )  # fmt: skip
        self.place += 1
        value = self.next
        if value is None or value.kind not in ("word", "text"):
            raise self.wrong(value, "a value is missing", "write a number, a word, or text in quotes", after=operator)
        self.place += 1
        plain = "=" if operator.text == "==" else operator.text
        return Comparison(name=name, aggregate=aggregate, operator=msgspec.convert(plain, Operator), value=value)

    def name(self) -> tuple[Token, str]:
        token = self.next
        if token is None or token.kind not in ("word", "text") or self.is_keyword(token):
            raise self.wrong(token, "a name is missing", "begin with a name, such as quality.auc > 0.7")
        self.place += 1
        opening = self.next
        if token.text not in AGGREGATES or opening is None or opening.text != "(":
            return token, ""
        self.place += 1
        inner, _ = self.name()
        closing = self.next
        if closing is None or closing.text != ")":
            raise self.wrong(closing or opening, "this parenthesis is not closed", f"write {token.text}({inner.text})")
        self.place += 1
        return inner, token.text

    def takes(self, keyword: str) -> bool:
        token = self.next
        if token is None or token.kind != "word" or token.text.lower() != keyword:
            return False
        self.place += 1
        return True

    def is_keyword(self, token: Token) -> bool:
        return token.kind == "word" and token.text.lower() in ("and", "or", "not")

    def wrong(self, token: Token | None, found: str, right: str, *, after: Token | None = None) -> BadFilter:
        """Return an error that points at a token, or at the end where there is none."""
        if token is None:
            start = after.end if after else len(self.text)
            return BadFilter(filter=self.text, start=start, found=found, right=right)
        return wrong_at(self.text, token, found, right)


def wrong_at(text: str, token: Token, found: str, right: str) -> BadFilter:
    """Return an error that points at a token."""
    return BadFilter(filter=text, start=token.start, length=token.end - token.start, found=found, right=right)


def plain(token: Token) -> str:
    """Return what a token says, without its quotes.

    >>> plain(Token("text", "'a b'", 0, 5))
    'a b'
    """
    return re.sub(r"\\(.)", r"\1", token.text[1:-1], flags=re.DOTALL) if token.kind == "text" else token.text
