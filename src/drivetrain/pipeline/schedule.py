"""Which steps may begin: those whose givers have settled, as many at once as the budget has room for."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from drivetrain.pipeline.node import Node

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from drivetrain.pipeline.budget import Budget, Share
    from drivetrain.pipeline.plan import Plan


class Schedule:
    """The nodes of a run, each waiting, ready, running, elsewhere or settled."""

    def __init__(self, plan: Plan, budget: Budget) -> None:
        self._budget = budget
        self.nodes: dict[str, Node] = {}
        self.running: dict[str, Share] = {}
        # Nodes that another runner is at.
        self.elsewhere: list[Node] = []
        self._ready: deque[Node] = deque()
        self._takers: dict[str, list[Node]] = {}
        planned = set(plan.steps)
        for name in plan.steps:
            node = self.nodes[name] = Node(plan.system.parts[name])
            self.wait(node, [giver for giver in plan.system.givers[name] if giver in planned])

    def add(self, nodes: Iterable[Node]) -> None:
        """Take further nodes in, which wait for nothing."""
        for node in nodes:
            self.nodes[node.name] = node
            self.make_ready(node)

    def wait(self, node: Node, givers: Iterable[str]) -> None:
        """Hold a node back until these have settled; with none, it is ready."""
        node.waits_for = set(givers)
        for giver in node.waits_for:
            self._takers.setdefault(giver, []).append(node)
        if not node.waits_for:
            self.make_ready(node)

    def make_ready(self, node: Node) -> None:
        """Let a node begin when there is room; one that needs no processor does not queue for one."""
        if node.part.conduct.cpu:
            self._ready.append(node)
        else:
            self._ready.appendleft(node)

    def settle(self, name: str) -> None:
        """Let those begin that waited for `name`."""
        for taker in self._takers.pop(name, ()):
            taker.waits_for.discard(name)
            if not taker.waits_for:
                self.make_ready(taker)

    def takers(self, name: str) -> list[Node]:
        """Return the nodes that wait for `name`."""
        return self._takers.get(name, [])

    def startable(self) -> Iterator[tuple[Node, Share]]:
        """Give each ready node that there is room for, with its share, which is to be kept or given back."""
        passed_over: deque[Node] = deque()
        try:
            while self._ready:
                node = self._ready.popleft()
                share = self._budget.lend(node.part.conduct)
                if share is not None:
                    yield node, share
                    continue
                passed_over.append(node)
                if not node.part.conduct.asks_for_more:
                    break  # nothing behind it asks for less
        finally:
            self._ready.extendleft(reversed(passed_over))

    def begin(self, node: Node, share: Share) -> None:
        """Take a node as running."""
        self.running[node.name] = share

    def give_back(self, share: Share) -> None:
        """Return a share that was not needed."""
        self._budget.take_back(share)

    def release(self, node: Node) -> None:
        """Have the share of a running node back: its work is done, and what came of it not taken in yet."""
        self._budget.take_back(self.running[node.name])

    def end(self, node: Node) -> None:
        """Take a released node as running no more."""
        del self.running[node.name]

    def look_again(self) -> None:
        """Let the nodes that another runner was at try again."""
        for node in self.elsewhere:
            self.make_ready(node)
        self.elsewhere.clear()

    @property
    def is_crowded(self) -> bool:
        """Whether something else could begin, or is on its way."""
        return bool(self._ready or self.elsewhere or len(self.running) > 1)

    @property
    def has_ready(self) -> bool:
        """Whether a node could begin."""
        return bool(self._ready)
