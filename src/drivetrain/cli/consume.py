"""Answer the messages of a stream, and put the answers into another one."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING, Any

from drivetrain.cli.project import open_project
from drivetrain.cli.service import chosen_service
from drivetrain.errors import UsageError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from drivetrain.cli.screen import Screen


def arguments(parser: ArgumentParser) -> None:
    parser.add_argument("service", nargs="?", default="", help="which service; not needed where there is only one")
    parser.add_argument("--from", dest="source", required=True, metavar="ADDRESS", help="such as redis://host/orders")
    parser.add_argument("--to", required=True, metavar="ADDRESS", help="where the answers go")
    parser.add_argument("--dead", default="", metavar="ADDRESS", help="where bad messages go; the source's with .dead")
    parser.add_argument("--group", default="", help="the consumers that share the stream; the service by default")
    parser.add_argument("--batch", type=int, default=256, help="how many messages are in hand at most")
    parser.add_argument("--file", help="the system's file, when it is not the project's own")


def execute(options: Namespace, screen: Screen) -> Any:
    from drivetrain.serving.streams.address import address
    from drivetrain.serving.streams.consumer import Consumer

    if not 1 <= options.batch <= 10_000:
        raise UsageError(f"--batch is {options.batch}", remedy="give a number from 1 to 10,000")
    if options.group and not re.fullmatch(r"[\w-]{1,100}", options.group):
        raise UsageError(f"--group is {options.group!r}", remedy="use letters, digits, _ and -")
    source, sink = address(options.source), address(options.to)
    dead = address(options.dead or f"{options.source.rstrip('/')}.dead")
    if sink[1:] == source[1:] or dead[1:] == source[1:]:
        raise UsageError("a stream cannot take its own answers", remedy="name another one with --to or --dead")
    opened = open_project(options)
    service = chosen_service(opened.system, options.service)
    group = options.group or service.name
    consumer = Consumer(opened.store, service.terms(), source, sink, dead, group=group, batch=options.batch)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: consumer.stop())
    screen.note(f"{service.name} answers {source.name} into {sink.name} as {consumer.name}; Ctrl-C ends it")
    consumer.run()
    opened.store.close()
    return {"service": service.name, "stream": source.name, "consumer": consumer.name}


def show(result: Any, screen: Screen) -> None:
    screen.line("ended")
