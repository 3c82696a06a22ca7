"""The least a durable, keyed run can cost: SQLite alone, one row a step, each committed before the next begins."""

import sqlite3
import sys

import system

last = "joined" if sys.argv[1] == "fan" else "a49"
ledger = sqlite3.connect("floor.db", isolation_level=None)
ledger.execute("PRAGMA journal_mode=WAL")
ledger.execute("PRAGMA synchronous=NORMAL")
ledger.execute("CREATE TABLE IF NOT EXISTS step (name TEXT PRIMARY KEY, value INTEGER)")


def value(name: str) -> int:
    """Return the value of a step, computed only when no row has it."""
    row = ledger.execute("SELECT value FROM step WHERE name = ?", (name,)).fetchone()
    if row:
        return int(row[0])
    function = getattr(system, name)
    found = int(function(*map(value, function.__code__.co_varnames[: function.__code__.co_argcount])))
    ledger.execute("INSERT INTO step VALUES (?, ?)", (name, found))
    return found


print(value(last))
