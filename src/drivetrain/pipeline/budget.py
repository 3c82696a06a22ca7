"""What the machine has, and what running steps have taken of it."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import msgspec

from drivetrain.errors import BadSetting

if TYPE_CHECKING:
    from drivetrain.system.conduct import Conduct
    from drivetrain.system.part import Part


class Share(msgspec.Struct, frozen=True):
    """What one step holds: processors, memory, and the numbers of its GPUs."""

    cpu: float
    memory_gib: float
    gpus: tuple[int, ...] = ()


class Budget:
    """Lends processors, memory and GPUs to steps, never more than there is.

    >>> from drivetrain.system.conduct import Conduct
    >>> budget = Budget(cpu=2, memory_gib=8, gpus=1)
    >>> first = budget.lend(Conduct(gpu=1))
    >>> first.gpus, budget.lend(Conduct(gpu=1)) is None
    ((0,), True)
    """

    def __init__(self, *, cpu: float, memory_gib: float | None = None, gpus: int | None = None) -> None:
        self.cpu = cpu
        self.memory_gib = memory_of_machine_gib() if memory_gib is None else memory_gib
        self.gpus = _gpus_of_machine() if gpus is None else gpus
        self._free_cpu, self._free_gib = self.cpu, self.memory_gib
        self._free_gpus = list(range(self.gpus))

    def check(self, part: Part) -> None:
        """Refuse a part that can never run here.

        Raises:
            BadSetting: it asks for more memory or GPUs than the machine has.
        """
        asked = part.conduct
        for name, wanted, there in (
            ("memory_gib", asked.memory_gib or 0, self.memory_gib),
            ("gpu", asked.gpu, self.gpus),
        ):
            if wanted > there:
                raise BadSetting(
                    setting=f"{name} of {part.name!r}",
                    found=f"{wanted:g}, and there is {there:.3g} here",
                    right="ask for less, or run it on a larger machine",
                    place=part.place,
                )

    def lend(self, conduct: Conduct) -> Share | None:
        """Return a step's share, or None when too little is free. A step that asks for every processor runs alone."""
        cpu = min(conduct.cpu, self.cpu)
        memory = conduct.memory_gib or 0.0
        if cpu > self._free_cpu + 1e-9 or memory > self._free_gib or conduct.gpu > len(self._free_gpus):
            return None
        gpus = tuple(self._free_gpus[: conduct.gpu])
        del self._free_gpus[: conduct.gpu]
        self._free_cpu -= cpu
        self._free_gib -= memory
        return Share(cpu, memory, gpus)

    def take_back(self, share: Share) -> None:
        """Have a share back."""
        self._free_cpu += share.cpu
        self._free_gib += share.memory_gib
        self._free_gpus = sorted([*self._free_gpus, *share.gpus])


def _gpus_of_machine() -> int:
    return sum(re.fullmatch(r"nvidia\d+", name) is not None for name in os.listdir("/dev"))


def memory_of_machine_gib() -> float:
    """Return how much memory the machine has."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
