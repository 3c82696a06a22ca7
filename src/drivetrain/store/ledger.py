"""The contract of the ledger: where records are written in transactions and found again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from drivetrain.store.record import Record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

R = TypeVar("R", bound=Record)


class Ledger(Protocol):
    """Keeps records. What `write` returned from is on the disk. `path` is where a person finds it."""

    path: Path

    def write(self, *records: Record) -> None:
        """Write all of them or none; a record with the key of an earlier one replaces it. Dicts keep their order."""
        ...

    def get(self, kind: type[R], *key: Any) -> R | None:
        """Return the record with that key, or None."""
        ...

    def find(
        self, kind: type[R], where: Mapping[str, Any] | None = None, *, order: str = "", limit: int | None = None
    ) -> list[R]:
        """Return the records for which all of `where` holds; a record that is damaged raises CorruptLedger.

        A key of `where` is a field, or a field and an operator: `{"model": "lateness", "at <=": moment}`; with `in`,
        the value is a list of those that will do.
        `order` is a field, with a leading minus for the largest first; by default the order of writing.
        """
        ...

    def delete(self, kind: type[Record], *key: Any) -> None:
        """Take out the record with that key, where there is one."""
        ...

    def prepare(self, *kinds: type[Record]) -> None:
        """Make the tables of these kinds where they are missing, so that `select` may name them."""
        ...

    def select(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of one SELECT, for questions that `find` cannot put; values are bound to its `?`."""
        ...

    def execute(self, sql: str, values: Sequence[Any] = ()) -> None:
        """Carry out one statement on a table that is no record's; in a transaction it is part of it."""
        ...

    def transaction(self, *, is_durable: bool = True) -> AbstractContextManager[None]:
        """Hold off every other writer until the block ends; its writes are committed together, or none if it raises.

        One that is not durable does not wait for the disk: others see it at once, and a power cut may undo it as long
        as no durable one has followed.
        """
        ...

    def generation(self) -> int:
        """Return a number that is another one whenever something has been committed; asking is cheap."""
        ...

    def close(self) -> None: ...
