"""What it costs to find that nothing changed, as a system grows: parts made in a loop, one closure each."""

import resource
import shutil
from functools import partial
from pathlib import Path

from benchmarks.measure import SCRATCH, cell, interleaved, ours, run, table, versions

SIZES = (100, 1_000, 10_000)
COMMANDS = {"`drivetrain run`, cached": ("run",), "`drivetrain why`": ("why",)}
SYSTEM = """import drivetrain as dt


def made(number: int):
    @dt.step
    def part() -> int:
        return number

    return type(part)(name=f"part_{number}", place=part.place, function=part.function)


system = dt.System("many", *[made(number) for number in range(COUNT)])
"""


def project(size: int) -> Path:
    """Return the folder of a system of that many parts, which has run once."""
    folder = SCRATCH / "keys" / str(size)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "system.py").write_text(SYSTEM.replace("COUNT", str(size)))
    run([str(ours() / "drivetrain"), "run"], cwd=folder)
    return folder


def processor_seconds(argv: list[str], *, cwd: Path) -> float:
    """Return the time that a process spends on the processor: nothing here waits for anything else."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(argv, cwd=cwd)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(rounds: int = 5) -> str:
    """Return the table of commands by number of parts."""
    program = str(ours() / "drivetrain")
    folders = {size: project(size) for size in SIZES}
    tasks = {
        f"{name} {size}": partial(processor_seconds, [program, *arguments], cwd=folder)
        for name, arguments in COMMANDS.items()
        for size, folder in folders.items()
    }
    found = interleaved(tasks, rounds)
    rows = [[name, *(cell(found[f"{name} {size}"]) for size in SIZES)] for name in COMMANDS]
    return (
        f"{table(['whole process, s of processor time', *(f'{size:,} parts' for size in SIZES)], rows)}\n\n"
        f"Median (range) of {rounds} rounds in turns; {versions(ours(), ['drivetrain'])}. Each part is one closure "
        "with its own value and no input. For each, its key is made anew, its last outcome looked up, and the bytes of "
        "its artifact verified; `run` records it as well."
    )
