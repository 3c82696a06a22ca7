"""The whole life of the flights system in about a minute: train, serve, drift, retrain, canary, promote, roll back.

    python demo.py           leaves the console open at http://127.0.0.1:4200
    python demo.py --exit    ends when the story is told

Every figure that it prints is computed from what happened; nothing is written in.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path

import polars as pl
from replay import Replay
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from drivetrain.pipeline.ending import end_with_parent
from drivetrain.pipeline.run import Run
from drivetrain.registry.registry import champion_of
from drivetrain.registry.rollout import Rollout
from drivetrain.security.event import Event
from drivetrain.store.store import Store

HERE = Path(__file__).parent
FOLDER = ".demo"
START, END = datetime(2013, 4, 1), datetime(2013, 10, 1)  # noqa: DTZ001  # New York wall time, as the data has it
# The pauses between two looks of the monitor, and after each day of 2013, so that it keeps step.
LOOK_S, DAY_S, CANARY_DAY_S = 0.1, 0.02, 0.15
SHOWN = {
    "drift.raised": ("yellow", "drift"),
    "quality.raised": ("yellow", "quality"),
    "run.triggered": ("cyan", "retrain"),
    "gate.passed": ("green", "gate"),
    "gate.refused": ("red", "gate"),
    "canary.started": ("cyan", "canary"),
    "version.promoted": ("green", "promote"),
    "version.rolled_back": ("red", "roll back"),
    "canary.rolled_back": ("red", "roll back"),
}

console = Console(highlight=False, width=min(Console().width, 120))


def main() -> None:
    """Tell the story from the first run to the last label."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exit", action="store_true", help="end when the story is told")
    parser.add_argument("--port", type=int, default=8000, help="the server's port")
    parser.add_argument("--console-port", type=int, default=4200, help="the console's port")
    options = parser.parse_args()
    folder = os.path.relpath(HERE)
    os.chdir(HERE)
    os.environ |= {
        "DRIVETRAIN_STORE_PATH": FOLDER,
        "DRIVETRAIN_SERVE_PORT": str(options.port),
        "DRIVETRAIN_CONSOLE_PORT": str(options.console_port),
        "DRIVETRAIN_MONITOR_EVERY_S": str(LOOK_S),
    }
    began = time.perf_counter()
    if not (HERE / "data" / "flights.parquet").exists():
        subprocess.run([sys.executable, "prepare.py"], check=True)
    shutil.rmtree(FOLDER, ignore_errors=True)

    chapter("1  Train", "January to March; the last three weeks are the test")
    subprocess.run([sys.executable, "-m", "drivetrain", "run", "--reason", "the first model"], check=True)

    chapter("2  Serve and watch", f"server on {options.port}, console on {options.console_port}, and the monitor")
    system = subprocess.Popen(
        [sys.executable, "-m", "drivetrain", "up"], start_new_session=True, preexec_fn=end_with_parent()
    )
    try:
        wait_until_ready(options.port)
        chapter("3  Live", "every flight of April to September asks an hour ahead")
        replay = Replay(HERE / "data" / "flights.parquet", port=options.port)
        with console.status("") as clock:
            story = Story(Store.open(HERE / FOLDER), replay, clock)
            replay.run(START, END, each_day=story.day)
            clock.update("comparing with what the first model would have said")
            summarise(story, replay)
        farewell(story, replay, folder, time.perf_counter() - began)
        if not options.exit:
            console.print(
                f"\nThe console is open at [bold]http://127.0.0.1:{options.console_port}[/]. Ctrl-C ends the demo."
            )
            with suppress(KeyboardInterrupt):
                while system.poll() is None:  # polars lets no signal end a call that waits
                    time.sleep(0.2)
    finally:
        os.killpg(system.pid, signal.SIGTERM)
        system.wait()


class Story:
    """What happens while the days go by: it tells each event, waits while a model trains, and tries the leak."""

    def __init__(self, store: Store, replay: Replay, clock: Status) -> None:
        self.store, self.replay, self.clock = store, replay, clock
        self.told = len(store.ledger.find(Event))
        self.promoted_on: datetime | None = None
        self.leaked_on: datetime | None = None
        self.events: list[tuple[datetime, Event]] = []

    def day(self, now: datetime) -> None:
        """Let the monitor keep step with the clock, and tell what it did."""
        time.sleep(CANARY_DAY_S if self.canary() else DAY_S)
        self.clock.update(f"{now.day} {now:%B}, {len(self.replay.answered):,} predictions")
        while self.is_training():
            self.clock.update(f"{now.day} {now:%B}, waiting while a model trains")
            time.sleep(0.05)
        self.tell(now)
        if (
            self.promoted_on
            and not self.leaked_on
            and now >= self.promoted_on + timedelta(days=7)
            and not self.canary()
        ):
            self.leaked_on = now
            self.clock.stop()
            chapter("4  A slip", "a challenger that learned from `departed_at`, known only afterwards")
            subprocess.run(
                [sys.executable, "-m", "drivetrain", "run", "--file", "leaky.py", "--reason", "one wrong line",
                 "--set", f"flights.until={now.isoformat()}"],
                check=True,
            )  # fmt: skip
            console.print()
            self.clock.start()
            self.tell(now)

    def is_training(self) -> bool:
        """Return whether a run is on its way: no three weeks pass while a model trains, so the clock waits."""
        ledger = self.store.ledger
        asked = ledger.find(Event, {"kind": "run.triggered"}, order="-number", limit=1)
        ended = ledger.find(Run, {"started_at >": asked[0].at, "state !=": "running"}, limit=1) if asked else [None]
        return not ended or bool(ledger.find(Run, {"state": "running"}, limit=1))

    def canary(self) -> bool:
        """Return whether a challenger has a share of the traffic."""
        return bool(self.store.ledger.find(Rollout, {"state": "canary"}))

    def tell(self, now: datetime) -> None:
        """Print what has happened since the last time."""
        events = self.store.ledger.find(Event, {"number >": self.told}, order="number")
        for event in events:
            self.told = event.number
            self.events.append((now, event))
            if event.kind in SHOWN:
                style, word = SHOWN[event.kind]
                row = Table.grid(padding=(0, 2, 0, 0))
                row.add_column(width=8, justify="right", style="dim")
                row.add_column(width=9, style=style)
                row.add_column(overflow="fold")
                row.add_row(f"{now.day} {now:%b}", word, escape(sentence(event)))
                console.print(row)
            if event.kind == "version.promoted" and self.promoted_on is None:
                self.promoted_on = now


def sentence(event: Event) -> str:
    """Return what an event says, without the reason that the line before has just given."""
    return event.message.removesuffix(f": {event.evidence.get('reason', '')}")


def chapter(title: str, text: str) -> None:
    """Print a heading."""
    console.print(f"\n[bold]{title}[/]  [dim]{text}[/]")


def wait_until_ready(port: int) -> None:
    """Return when the server answers."""
    for _ in range(600):
        time.sleep(0.1)
        with suppress(OSError):
            connection = HTTPConnection("127.0.0.1", port, timeout=1)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
    raise SystemExit(f"the server did not come up within a minute; {HERE / FOLDER}/logs/server.log says why")


def summarise(story: Story, replay: Replay) -> None:
    """Print what was said and what came true, month by month, and what it was worth to retrain."""
    outcomes = pl.read_parquet(HERE / "data" / "flights.parquet").select("flight_id", "late")
    answered = pl.DataFrame(replay.answered, orient="row").join(outcomes, on="flight_id").drop_nulls("late")
    squared = (pl.col("prediction") - pl.col("late").cast(pl.Float64)) ** 2
    months = (
        answered.group_by(pl.col("scheduled").dt.strftime("%m %B").alias("month"))
        .agg(
            pl.len(),
            pl.col("prediction").mean(),
            pl.col("late").mean(),
            squared.mean().alias("brier"),
            pl.col("version").unique(),
        )
        .sort("month")
    )
    chapter(
        "5  What happened",
        f"{len(replay.answered):,} predictions, {replay.requests:,} requests, {replay.failed} failed",
    )
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for name in ("month", "flights", "said late", "were late", "Brier", "answered by"):
        table.add_column(name, justify="left" if name in ("month", "answered by") else "right")
    for month in months.iter_rows(named=True):
        versions = sorted(month["version"])
        table.add_row(
            month["month"][3:], f"{month['len']:,}", f"{month['prediction']:.1%}", f"{month['late']:.1%}",
            f"{month['brier']:.4f}", ", ".join(versions),
        )  # fmt: skip
    console.print(table)
    if story.promoted_on:
        compare(story, answered.filter(pl.col("scheduled") >= story.promoted_on), squared)


def farewell(story: Story, replay: Replay, folder: str, seconds: float) -> None:
    """Print who won, and where to look further: commands that work in the shell that began the demo."""
    champion = champion_of(story.store.ledger, "lateness")
    assert champion is not None
    command = "drivetrain"
    if not shutil.which(command):
        command = os.path.relpath(Path(sys.executable).with_name(command), HERE)
    looks = {
        "models": "each version, and why it was promoted, refused or rolled back",
        "runs": "what ran, when, and what started it",
        f"why {replay.last_id}": f"everything behind the answer for {replay.answered[-1].flight_id}",
    }
    console.print(f"\nThe champion is [bold]{champion.id}[/]. All of it took {seconds:.0f} s. To look into it:\n")
    there = "" if folder == "." else f"cd {folder} && "
    console.print(f"  {there}export DRIVETRAIN_STORE_PATH={FOLDER}", soft_wrap=True)
    widest = max(map(len, looks))
    for words, told in looks.items():
        console.print(f"  {command} {words:<{widest}}  [dim]# {told}[/]", soft_wrap=True)


def compare(story: Story, rows: pl.DataFrame, squared: pl.Expr) -> None:
    """Print what the first model would have said to the flights since the first promotion, beside what was said."""
    asked, scored = Path(FOLDER) / "since.parquet", Path(FOLDER) / "first.parquet"
    flights = pl.read_parquet(HERE / "data" / "flights.parquet")
    flights.filter(pl.col("flight_id").is_in(rows["flight_id"].implode())).write_parquet(asked)
    command = ["predict", "--version", "lateness@1", "--input", str(asked), "--output", str(scored)]
    subprocess.run([sys.executable, "-m", "drivetrain", *command], check=True, stdout=subprocess.DEVNULL)
    assert story.promoted_on is not None
    first = pl.read_parquet(scored).filter(pl.col("late").is_not_null())
    before, after = first.select(squared.mean()).item(), rows.select(squared.mean()).item()
    console.print(
        f"Since the first retrained model took over on {story.promoted_on.day} {story.promoted_on:%B}, "
        f"the Brier score is [bold]{after:.4f}[/]; "
        f"the model of January to March would have had [bold]{before:.4f}[/] on the same {rows.height:,} flights."
    )


if __name__ == "__main__":
    main()
