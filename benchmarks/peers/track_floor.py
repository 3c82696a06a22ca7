"""The least that tracking can cost: plain tables in SQLite with `synchronous=full`, and nothing around them."""

import sqlite3
import sys
import time

db = sqlite3.connect("floor.db", isolation_level=None)
db.execute("PRAGMA journal_mode=WAL")
db.execute("PRAGMA synchronous=FULL")
db.execute("CREATE TABLE figure (run INTEGER, name TEXT, value REAL)")
db.execute("CREATE INDEX figure_name ON figure (name, value, run)")
db.execute("CREATE TABLE point (curve INTEGER, step INTEGER, value REAL, PRIMARY KEY (curve, step)) WITHOUT ROWID")


def points(count: int) -> float:
    """Write `count` points in one commit."""
    start = time.perf_counter()
    db.execute("BEGIN")
    db.executemany("INSERT INTO point VALUES (1, ?, ?)", ((step, 1 / (step + 1)) for step in range(count)))
    db.execute("COMMIT")
    return time.perf_counter() - start


def runs(count: int) -> float:
    """Write 20 rows a run, a commit each."""
    start = time.perf_counter()
    for number in range(count):
        db.execute("BEGIN")
        rows = [(number, f"m{each}", (number * 7919 % count) / (each + 1)) for each in range(20)]
        db.executemany("INSERT INTO figure VALUES (?, ?, ?)", rows)
        db.execute("COMMIT")
    return time.perf_counter() - start


def top(count: int) -> float:
    """Find the 10 best of `count` runs."""
    db.execute("BEGIN")
    for number in range(count):
        rows = [(number, f"m{each}", (number * 7919 % count) / (each + 1)) for each in range(20)]
        db.executemany("INSERT INTO figure VALUES (?, ?, ?)", rows)
    db.execute("COMMIT")
    start = time.perf_counter()
    found = db.execute("SELECT run FROM figure WHERE name = 'm0' ORDER BY value DESC LIMIT 10").fetchall()
    assert len(found) == 10
    return time.perf_counter() - start


work, _, size = sys.argv[1].partition(":")
print({"points": points, "runs": runs, "top": top}[work](int(size)))
