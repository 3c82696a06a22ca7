"""Measure, and write the tables into docs/benchmarks.md between their markers.

python -m benchmarks.run                    everything, about an hour; none of them more than 15 minutes
python -m benchmarks.run --only pipeline    one of them
python -m benchmarks.run --rounds 1         a quick look; nothing to publish
"""

import argparse
import re
from pathlib import Path

from benchmarks import batch, growth, keys, pipeline, protocols, serving, startup, tracking
from benchmarks.measure import ROOT, machine

PAGE = ROOT / "docs" / "benchmarks.md"
BENCHMARKS = {
    "startup": startup.measure,
    "pipeline": pipeline.measure,
    "growth": growth.measure,
    "keys": keys.measure,
    "serving": serving.measure,
    "serving-models": serving.measure_models,
    "serving-peers": serving.measure_peers,
    "serving-peers-models": serving.measure_peers_models,
    "protocols": protocols.measure,
    "batch": batch.measure,
    "tracking": tracking.measure,
}


def write(page: Path, name: str, text: str) -> None:
    """Put text between the markers of a section, and leave the rest of the page as it is."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    source = page.read_text(encoding="utf-8")
    if begin not in source or end not in source:
        raise SystemExit(f"{page.name} has no place for {name}: write {begin} and {end} where it belongs")
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    page.write_text(pattern.sub(lambda _: f"{begin}\n{text.strip()}\n{end}", source), encoding="utf-8")


def main() -> None:
    """Parse, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=BENCHMARKS, help="measure only this one")
    parser.add_argument("--rounds", type=int, help="how often each thing is measured; by default what it needs")
    parser.add_argument("--print", action="store_true", help="print the tables only, and leave the page as it is")
    arguments = parser.parse_args()

    for name in [arguments.only] if arguments.only else BENCHMARKS:
        measure = BENCHMARKS[name]
        tables = measure(arguments.rounds) if arguments.rounds else measure()
        text = f"{tables}\n\n{machine()}"
        print(f"\n{text}\n", flush=True)
        if not arguments.print:
            write(PAGE, name, text)


if __name__ == "__main__":
    main()
