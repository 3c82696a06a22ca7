"""Compiled code as what it does: a form without layout, and the names that it uses.

Line numbers, docstrings and what the compiler leaves for a debugger are no part of the form, so that comments,
formatting and documentation do not count.
"""

from __future__ import annotations

import opcode
from bisect import bisect_left
from hashlib import sha256
from itertools import accumulate
from types import CodeType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_OP = opcode.opmap
_CACHE, _EXTENDED_ARG = 0, _OP["EXTENDED_ARG"]
# What stands in compiled code for tracing alone, or to begin it.
_SILENT = {_OP["NOP"], _OP["RESUME"]}
_LOAD_CONST, _STORE_NAME = _OP["LOAD_CONST"], _OP["STORE_NAME"]
_IMPORT_NAME, _IMPORT_FROM = _OP["IMPORT_NAME"], _OP["IMPORT_FROM"]
_GLOBALS = {_OP[name] for name in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS") if name in _OP}
_ATTRIBUTES = {_OP[name] for name in ("LOAD_ATTR", "LOAD_METHOD") if name in _OP and _OP[name] < 256}
_REBINDS = {_OP["STORE_GLOBAL"], _OP["DELETE_GLOBAL"]}
_CHANGES_ITEM = {_OP["STORE_SUBSCR"], _OP["DELETE_SUBSCR"]}
_CHANGES_ATTRIBUTE = {_OP["STORE_ATTR"], _OP["DELETE_ATTR"]}
_CONSTANTS, _NAMES, _JUMPS = set(opcode.hasconst), set(opcode.hasname), set(opcode.hasjrel)
_BACKWARD = {number for number in _JUMPS if "BACKWARD" in opcode.opname[number]}
# Some instructions keep a flag or two below the index of their name.
_NAME_SHIFT = {
    number: 2 if "SUPER" in name else 1
    for name, number in _OP.items()
    if name == "LOAD_GLOBAL" or "SUPER" in name or (name == "LOAD_ATTR" and "LOAD_SUPER_ATTR" in _OP)
}
_GOTO = {
    number for number in _JUMPS if opcode.opname[number].startswith("JUMP_") and "_IF_" not in opcode.opname[number]
}
_ENDS = {_OP[name] for name in ("RETURN_VALUE", "RETURN_CONST", "RERAISE", "RAISE_VARARGS") if name in _OP}
# A branch is the same whichever of its two ways is the jump: what is asked, and whether the jump is the first answer.
_BRANCHES = {
    number: (question, name.endswith(first))
    for name, number in _OP.items()
    for question, first, second in (("true", "IF_TRUE", "IF_FALSE"), ("none", "IF_NONE", "IF_NOT_NONE"))
    if number in _JUMPS and name.startswith("POP_JUMP") and name.endswith((first, second))
}
# Two instructions that stand on one line are one in Python 3.13.
_PAIRS = {
    number: (_OP[f"{first}_FAST"], _OP[f"{second}_FAST"])
    for first, second in (("LOAD", "LOAD"), ("STORE", "LOAD"), ("STORE", "STORE"))
    if (number := _OP.get(f"{first}_FAST_{second}_FAST"))
}
# Of a class's own bookkeeping, some is documentation and some is layout.
_BOOKKEEPING = {"__doc__", "__module__", "__qualname__", "__firstlineno__", "__static_attributes__"}
# *args, **kwargs, generator, coroutine, iterable coroutine, async generator
_FLAGS = 0x04 | 0x08 | 0x20 | 0x80 | 0x100 | 0x200
# Methods that change a list, dict, set or deque in place.
_MUTATORS = frozenset(
    {
        *("add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "popleft"),
        *("remove", "reverse", "setdefault", "sort", "update"),
    }
)


class Import(NamedTuple):
    """An import statement inside a function: the module, how many dots stand before it, and what is taken from it."""

    module: str
    level: int
    names: tuple[str, ...]


class Uses(NamedTuple):
    """What a function and those nested in it name.

    A chain is a global name with the attributes that are read from it: `("np", "linalg", "norm")`. `changed` are
    globals that are rebound or given an item or attribute, `mutated` those of which a method such as `append` is named.
    `texts` are those that stand in the code, and `reads` says whether something such as `read_csv` is named.
    """

    chains: tuple[tuple[str, ...], ...]
    imports: tuple[Import, ...]
    changed: frozenset[str]
    mutated: frozenset[str]
    texts: frozenset[str]
    reads: bool


def digest_of_code(code: CodeType) -> str:
    """Return a digest of what the code does.

    >>> one = compile("x = 1  # a", "a.py", "exec")
    >>> two = compile("'''What it is for.'''" + chr(10) + "x = (1)", "b.py", "exec")
    >>> digest_of_code(one) == digest_of_code(two)
    True
    """
    return sha256(repr(_form(code)).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def uses_of(code: CodeType) -> Uses:
    """Return what the code names, nested functions included."""
    chains: dict[tuple[str, ...], None] = {}
    imports: list[Import] = []
    changed: set[str] = set()
    mutated: set[str] = set()
    texts: set[str] = set()
    reads = False
    for inner in nested(code):
        texts.update(value for value in inner.co_consts if isinstance(value, str))
        reads = reads or any(name.startswith(("read", "scan")) for name in inner.co_names)
        steps = [(op, _value(inner, op, argument)) for _, op, argument, _ in _instructions(inner)]
        for index, (op, value) in enumerate(steps):
            if op in _GLOBALS:
                chain = [value[0]]
                for following, attribute in steps[index + 1 :]:
                    if following not in _ATTRIBUTES:
                        break
                    chain.append(attribute[0])
                chains[tuple(chain)] = None
                if len(chain) == 2 and chain[1] in _MUTATORS:
                    mutated.add(chain[0])
            elif op == _IMPORT_NAME:
                level, names = steps[index - 2][1], steps[index - 1][1]
                imports.append(Import(value[0], level if isinstance(level, int) else 0, tuple(names or ())))
            elif op in _REBINDS:
                changed.add(value[0])
            # `NAME[key] = …` with a plain key, and `NAME.attribute = …`
            elif (op in _CHANGES_ITEM and index > 1 and steps[index - 2][0] in _GLOBALS) or (
                op in _CHANGES_ATTRIBUTE and index > 0 and steps[index - 1][0] in _GLOBALS
            ):
                changed.add(steps[index - (2 if op in _CHANGES_ITEM else 1)][1][0])
    return Uses(tuple(chains), tuple(imports), frozenset(changed), frozenset(mutated), frozenset(texts), reads)


def nested(code: CodeType) -> Iterator[CodeType]:
    """Yield the code and all code within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from nested(constant)


def _instructions(code: CodeType) -> Iterator[tuple[int, int, int, int]]:
    """Yield the offset, operation and argument of each instruction, and the offset of the next."""
    words, offset, extended, begin = code.co_code, 0, 0, 0
    size = len(words)
    while offset < size:
        op, argument = words[offset], words[offset + 1] | extended
        offset += 2
        if op == _EXTENDED_ARG:
            extended = argument << 8
            continue
        while offset < size and words[offset] == _CACHE:
            offset += 2
        yield begin, op, argument, offset
        extended, begin = 0, offset


def _value(code: CodeType, op: int, argument: int) -> Any:
    """Return what an argument stands for: a constant, a name with its flags, or the argument itself."""
    if op in _CONSTANTS:
        return code.co_consts[argument]
    if op in _NAMES:
        shift = _NAME_SHIFT.get(op, 0)
        return code.co_names[argument >> shift], argument & ((1 << shift) - 1)
    return argument


def _form(code: CodeType) -> tuple[Any, ...]:
    """Return the code as a graph: each instruction once, in an order that no layout and no jump has a part in."""
    found: list[tuple[int, int, int, int]] = []
    for begin, op, argument, following in _instructions(code):
        if op in _PAIRS:
            first, second = _PAIRS[op]
            found += [(begin, first, argument >> 4, following), (begin, second, argument & 15, following)]
        elif op not in _SILENT:
            found.append((begin, op, argument, following))
    begins = [begin for begin, _, _, _ in found]
    handlers = [0] * len(found)
    table = list(_handlers(code))
    for row, (start, end, _, _) in enumerate(table):
        for index in range(bisect_left(begins, start), bisect_left(begins, end)):
            handlers[index] = row + 1

    def target(index: int) -> int:
        _, op, argument, following = found[index]
        return bisect_left(begins, following + (-2 if op in _BACKWARD else 2) * argument)

    def landing(index: int) -> int:
        for _ in found:
            if index >= len(found) or found[index][1] not in _GOTO:
                break
            index = target(index)
        return index

    numbers: dict[int, int] = {}
    body: list[Any] = []
    ahead = [0]
    while ahead:
        index = landing(ahead.pop())
        while index < len(found) and index not in numbers:
            numbers[index] = len(numbers)
            _, op, argument, _ = found[index]
            handler = handlers[index]
            if handler:
                ahead.append(bisect_left(begins, table[handler - 1][2]))
            after = landing(index + 1)
            ways: tuple[int, ...] = (after,)
            what: Any = op
            if op in _JUMPS:
                what, taken_first = _BRANCHES.get(op, (op, True))
                ways = (landing(target(index)), after) if taken_first else (after, landing(target(index)))
                ahead.extend(reversed(ways[1:]))
            else:
                value = _constant(code.co_consts[argument]) if op in _CONSTANTS else _value(code, op, argument)
                what = (op, value)
            if op in _ENDS:
                ways = ()
            body.append((what, ways, handler))
            if not ways:
                break
            index = ways[0]
    names = [
        index
        for index, (what, _, _) in enumerate(body)
        if isinstance(what, tuple) and what[0] == _STORE_NAME and what[1][0] in _BOOKKEEPING
    ]
    layout = {*names, *(index - 1 for index in names)}
    # What is left out leaves no gap in the numbers of the others.
    rank = list(accumulate((index not in layout for index in range(len(body))), initial=0))

    def number(index: int) -> int:
        return rank[numbers[index]] if index in numbers else -1

    steps = [
        (
            what,
            [number(way) for way in ways],
            (number(bisect_left(begins, table[handler - 1][2])), table[handler - 1][3]) if handler else None,
        )
        for index, (what, ways, handler) in enumerate(body)
        if index not in layout
    ]
    return (
        steps,
        code.co_varnames,
        code.co_freevars,
        code.co_argcount,
        code.co_posonlyargcount,
        code.co_kwonlyargcount,
        code.co_flags & _FLAGS,
    )


def _constant(value: Any) -> Any:
    if isinstance(value, CodeType):
        return _form(value)
    if isinstance(value, tuple):
        return ("tuple", [_constant(item) for item in value])
    if isinstance(value, frozenset):
        return ("frozenset", sorted(map(repr, value)))  # the order of a set is another one in each process
    return (type(value).__name__, repr(value))


def _handlers(code: CodeType) -> Iterator[tuple[int, int, int, int]]:
    """Yield the exception table: from where to where, the handler, and the depth of the stack with its flag."""
    table = iter(code.co_exceptiontable)

    def number(byte: int) -> int:
        found = byte & 63
        while byte & 64:
            byte = next(table)
            found = (found << 6) | (byte & 63)
        return found

    for byte in table:
        start, length = number(byte) * 2, number(next(table)) * 2
        yield start, start + length, number(next(table)) * 2, number(next(table))
