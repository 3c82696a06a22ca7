"""Workers on a Ray cluster. Each of its machines sees the store, the input and the output under the same paths."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from drivetrain.errors import DrivetrainError, MissingExtra, StoreUnavailable
from drivetrain.serving.batch.carry_out import Done, Hand
from drivetrain.serving.batch.pool import TRIES, crashed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from drivetrain.serving.batch.carry_out import Order
    from drivetrain.serving.batch.plan import Part

LOCAL = "local"


def on_ray(
    order: Order, parts: Iterable[Part], report: Callable[[int], None], *, address: str, count: int
) -> Iterator[tuple[Part, Done]]:
    """Carry out parts by `count` actors of a cluster, and yield each when it is done.

    `address` is that of a cluster, or `local` for one that is started here and ends with the job.

    Raises:
        MissingExtra: Ray is not installed.
        StoreUnavailable: there is no cluster at the address.
        StepCrashed: the actor of a part has ended twice.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtra(library="ray", extra="ray", purpose="working on Ray") from error
    was_there = ray.is_initialized()
    if not was_there:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
        if address == LOCAL:
            options |= {"num_cpus": count, "include_dashboard": False}
        else:
            options["address"] = address
        try:
            ray.init(**options)
        except Exception as error:  # it has many kinds
            raise StoreUnavailable(
                f"there is no Ray cluster at {address}: {str(error).partition(chr(10))[0][:200]}",
                remedy="start one (`ray start --head`), or leave the address out for one on this machine",
            ) from error
    try:
        yield from _shared_out(ray, order, deque(parts), report, count)
    finally:
        if not was_there:
            ray.shutdown()


def _shared_out(
    ray: Any, order: Order, waiting: deque[Part], report: Callable[[int], None], count: int
) -> Iterator[tuple[Part, Done]]:
    remote = ray.remote(num_cpus=1)(_Remote)
    free = [remote.remote(order) for _ in range(min(count, len(waiting)))]
    tries: dict[int, int] = {}
    busy: dict[Any, tuple[Any, Part]] = {}
    while waiting or busy:
        while waiting and free:
            actor, part = free.pop(), waiting.popleft()
            busy[actor.carry_out.remote(part)] = actor, part
        ready, _ = ray.wait(list(busy), num_returns=1)
        actor, part = busy.pop(ready[0])
        try:
            found = ray.get(ready[0])
        except ray.exceptions.RayError as error:
            tries[part.number] = tries.get(part.number, 0) + 1
            if tries[part.number] == TRIES:
                raise crashed(part, f"ended on Ray ({type(error).__name__})") from error
            free.append(remote.remote(order))
            waiting.appendleft(part)
            continue
        if isinstance(found, DrivetrainError):
            found.__dict__["part"] = part
            raise found
        free.append(actor)
        report(found.read)
        yield part, found


class _Remote:
    """A hand on another machine. It gives errors as values, since Ray would wrap them."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._hand: Hand | None = None

    def carry_out(self, part: Part) -> Done | DrivetrainError:
        """Carry out a part."""
        try:
            self._hand = self._hand or Hand(self._order)
            return self._hand.carry_out(part, lambda rows: None)
        except DrivetrainError as error:
            return error
