"""Which service of a system a command means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivetrain.errors import NotFound, UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Collection, Sequence

    from drivetrain.serving.service import Service
    from drivetrain.system.system import System


def choosing(parser: ArgumentParser) -> None:
    """Let a command be told for which services a server answers."""
    told = "which service; not needed where only one is called by no other. Of several, each is asked below its name"
    parser.add_argument("services", nargs="*", metavar="SERVICE", help=told)
    parser.add_argument("--all", action="store_true", help="all services, each below its name")


def chosen_services(system: System, names: Sequence[str], *, is_all: bool) -> Service | list[Service]:
    """Return the service that is meant, as `chosen_service` does, or those that answer together."""
    if is_all:
        if names:
            raise UsageError("--all means every service, and some are named", remedy="leave out the names, or --all")
        return _declared(system)
    if len(names) > 1:
        return [chosen_service(system, name) for name in dict.fromkeys(names)]
    return chosen_service(system, *names, remedy="name one or more of {}, or take --all")


def chosen_service(system: System, name: str = "", *, remedy: str = "name one of {}") -> Service:
    """Return the service called `name`, or the only one there is, or the only one that no other calls."""
    services = {each.name: each for each in _declared(system)}
    if name:
        if name not in services:
            raise NotFound(kind="service", name=name, known=list(services))
        return services[name]
    chosen = _called_by_no_other(services.values())
    if len(chosen) > 1:
        raise UsageError("there are several services", remedy=remedy.format(", ".join(services)))
    return chosen[0]


def is_choice(system: System) -> bool:
    """Return whether a command must be told which services of a system are meant."""
    return len(_called_by_no_other(system.of_role("service"))) > 1


def _called_by_no_other(services: Collection[Service]) -> list[Service]:
    called = {each.name for service in services for each in service.called()}
    return [service for service in services if service.name not in called]


def _declared(system: System) -> list[Service]:
    services: list[Service] = system.of_role("service")
    if not services:
        raise UsageError(
            f"the system {system.name!r} declares no service", remedy="add `service = dt.Service(model)` to its file"
        )
    return services


def chosen_model(system: System) -> str:
    """Return the name of the only model of a system."""
    models = [part.name for part in system.of_role("model")]
    if len(models) != 1:
        raise UsageError(
            f"the system {system.name!r} has {len(models)} models", remedy="name a version: --version MODEL@champion"
        )
    return str(models[0])
