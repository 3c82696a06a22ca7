"""The text of project code as it was when a step ran, kept so that `why` can show what changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar

from drivetrain.store.record import Record


class Source(Record, frozen=True, kw_only=True):
    """The source text behind a digest of compiled code, or a constant as text."""

    TABLE: ClassVar[str] = "source"
    KEY: ClassVar[tuple[str, ...]] = ("digest",)

    digest: str
    text: str


class Texts(Mapping[str, str]):
    """The text behind each digest, put together only when it is asked for: a step that does not run needs none."""

    def __init__(self) -> None:
        self._makers: dict[str, Callable[[], str]] = {}

    def add(self, digest: str, make: Callable[[], str]) -> None:
        """Say how to get the text of a digest."""
        self._makers.setdefault(digest, make)

    def __getitem__(self, digest: str) -> str:
        return self._makers[digest]()

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)
