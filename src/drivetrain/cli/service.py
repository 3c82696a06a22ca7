"""Which service of a system a command means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from drivetrain.errors import NotFound, UsageError

if TYPE_CHECKING:
    from drivetrain.serving.service import Service
    from drivetrain.system.system import System


def chosen_service(system: System, name: str) -> Service:
    """Return the service called `name`, or the only one there is, or the only one that no other calls."""
    services: dict[str, Service] = {part.name: part for part in system.of_role("service")}
    if name:
        if name not in services:
            raise NotFound(kind="service", name=name, known=list(services))
        return services[name]
    if not services:
        raise UsageError(
            f"the system {system.name!r} declares no service", remedy="add `service = dt.Service(model)` to its file"
        )
    called = {each.name for service in services.values() for each in service.called()}
    chosen = [service for name, service in services.items() if name not in called]
    if len(chosen) > 1:
        raise UsageError("there are several services", remedy=f"name one of {', '.join(services)}")
    return chosen[0]


def chosen_model(system: System) -> str:
    """Return the name of the only model of a system."""
    models = [part.name for part in system.of_role("model")]
    if len(models) != 1:
        raise UsageError(
            f"the system {system.name!r} has {len(models)} models", remedy="name a version: --version MODEL@champion"
        )
    return str(models[0])
