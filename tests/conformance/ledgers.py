"""Every ledger, by name: a vendor's joins the suite with a line here. The same place again is the same ledger."""

from collections.abc import Callable
from pathlib import Path

from drivetrain.store.ledger import Ledger
from drivetrain.store.sqlite import SQLiteLedger

LEDGERS: dict[str, Callable[[Path], Ledger]] = {
    "sqlite": lambda folder: SQLiteLedger(folder / "ledger.db"),
    "sqlite that is thrown away": lambda folder: SQLiteLedger(folder / "ledger.db", durable=False),
}
