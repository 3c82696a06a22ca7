"""The text of project code as it was when a step ran, kept so that `why` can show what changed."""

from __future__ import annotations

from typing import ClassVar

from drivetrain.store.record import Record


class Source(Record, frozen=True, kw_only=True):
    """The source text behind a digest of compiled code."""

    TABLE: ClassVar[str] = "source"
    KEY: ClassVar[tuple[str, ...]] = ("digest",)

    digest: str
    text: str
