"""A disk that is full, broken or read-only, or no more open files, at each call: told, no false success, and mended."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection

import pytest
from tests.crash.bench import STEPS, Bench, kept_steps, result, right, spread
from tests.crash.syscalls import CHANGES, OPENS, Action, Kind
from tests.crash.test_kill import recovered

# What a disk says, as the commands print it: the system's own words, or those that SQLite has for it.
WORDS = (
    *(os.strerror(number) for number in (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE)),
    *("disk I/O error", "database or disk is full", "unable to open database file"),
    *("attempt to write a readonly database", "cannot rollback"),
)


def failed_at(bench: Bench, at: int, action: Action, error: int, kinds: Collection[Kind] = CHANGES) -> None:
    """Let the first run meet an error at its `at`-th call of these kinds, then run again without."""
    bench.clear()
    ended = bench.run(action=action, at=at, error=error, kinds=kinds, below=bench.store)
    where = f"call {at}, {ended.kind.name}:\n{ended.out}"
    assert ended.happened, where
    if ended.code == 0:
        # SQLite does without some calls, such as taking away its log.
        assert kept_steps(bench.store) == set(STEPS), where
        assert result(bench.store) == right(), where
    else:
        assert ended.code == 1, where
        assert "→" in ended.out, where
        assert any(words in ended.out for words in WORDS), where
        assert "Traceback" not in ended.out, where
        assert 'File "' not in ended.out, f"the user's own step is blamed: {where}"
    recovered(bench, ended.finished)


def calls_of(bench: Bench, kinds: Collection[Kind]) -> int:
    bench.clear()
    return bench.run(kinds=kinds, below=bench.store).calls


ERRORS = [errno.ENOSPC, errno.EIO, errno.EROFS]


def test_an_error_at_any_call_is_told_and_the_store_works_again(bench: Bench) -> None:
    for at in spread(1, calls_of(bench, CHANGES), 90):
        failed_at(bench, at, Action.FAIL if at % 2 else Action.FAIL_ON, ERRORS[at % 3])


@pytest.mark.slow
@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.__getitem__)
@pytest.mark.parametrize("action", [Action.FAIL, Action.FAIL_ON], ids=lambda action: action.name)
def test_each_error_at_every_call(bench: Bench, action: Action, error: int) -> None:
    for at in range(1, calls_of(bench, CHANGES) + 1):
        failed_at(bench, at, action, error)


@pytest.mark.parametrize("action", [Action.FAIL, Action.FAIL_ON], ids=lambda action: action.name)
def test_too_many_open_files_at_any_opening(bench: Bench, action: Action) -> None:
    for at in range(1, calls_of(bench, OPENS) + 1):
        failed_at(bench, at, action, errno.EMFILE, OPENS)


def test_a_write_that_takes_only_half_is_gone_on_with(bench: Bench) -> None:
    for at in spread(1, calls_of(bench, {Kind.WRITE}), 40):
        bench.clear()
        ended = bench.run(action=Action.SHORTEN, at=at, kinds={Kind.WRITE}, below=bench.store)
        assert ended.happened
        assert ended.code == 0, ended.out
        assert kept_steps(bench.store) == set(STEPS)
        assert result(bench.store) == right()
