"""Say no to what a run asks: what depends on the approval is skipped; without an argument, list what is asked.

The answer, its reason and who gave it are recorded, and hold for the same thing in later runs too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from drivetrain.cli.approve import arguments, show
from drivetrain.cli.project import kept_store, open_store
from drivetrain.pipeline.approval import answer, open_requests
from drivetrain.security.actor import actor

if TYPE_CHECKING:
    from argparse import Namespace

    from drivetrain.cli.screen import Screen

__all__ = ["arguments", "execute", "show"]


def execute(options: Namespace, screen: Screen) -> Any:
    if not options.request:
        store = open_store(options)
        return open_requests(store.ledger) if store is not None else []
    store = kept_store(options)
    return answer(store.ledger, options.request, "refused", by=actor(), reason=options.reason)
