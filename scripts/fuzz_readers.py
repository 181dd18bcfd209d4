#!/usr/bin/env python
"""Break whole files in many ways and read them: only errors and right images may come of it.

Each broken file is read in a forked child with a limit of 5 s and 500 MB. Exit status 1 if a file
made the reader crash, hang, take too much memory, keep a file open, raise anything but a
`FileFormatError` of one sentence, or give a wrong image of a file that was cut off. Needs Linux.

    python scripts/fuzz_readers.py --format tiff --count 1000 --truncations 100 --seed 0

Seeds are small files of every kind, and the files of at most 1 MB of the shared set, where
EVERHART_DATA names its folder. What is found is saved with --save, and made again with --only.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "io" / "fuzz"))

import judge
from seeds import seeds_of

from everhart.io.registry import formats


def main() -> int:
    """Judge the formats that are asked for; give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    names = [known.name.casefold() for known in formats()]
    parser.add_argument("--format", action="append", choices=names, help="all, if not given")
    parser.add_argument("--count", type=int, default=1000, help="mutations of each format")
    parser.add_argument("--truncations", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path, help="folder for the files that were read badly")
    parser.add_argument("--only", type=int, help="number of one case, to look at its error")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    figures = {}
    for name in options.format or names:
        seeds = seeds_of(name)
        if not seeds:
            print(f"{name}: no seeds; set EVERHART_DATA", flush=True)
            continue
        cases = judge.Cases(seeds, options.truncations, options.count, options.seed)
        with tempfile.TemporaryDirectory() as folder:
            if options.only is not None:
                _look(cases, options.only, Path(folder))
                continue
            start = time.perf_counter()
            report = judge.run(cases, Path(folder))
        took = time.perf_counter() - start
        verdicts = dict(sorted(report.verdicts.items()))
        print(
            f"{name}: {len(cases)} files of {len(cases.seeds)} seeds in {took:.0f} s; {verdicts}; "
            f"slowest {report.slowest_s:.2f} s, most {report.most_bytes / 1e6:.0f} MB",
            flush=True,
        )
        for number, verdict, detail in report.bad:
            print(f"  {number} {verdict} ({cases[number].seed.name}): {detail}")
            if options.save:
                _save(cases[number], options.save / name / str(number))
        for text, times in report.stray.most_common(10):
            print(f"  {times} x {text}")
        figures[name] = {
            "cases": len(cases),
            "seconds": took,
            "slowest_s": report.slowest_s,
            "most_mb": report.most_bytes / 1e6,
            "verdicts": verdicts,
            "bad": report.bad,
        }
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1), "utf-8")
    return int(any(one["bad"] for one in figures.values()))


def _look(cases: judge.Cases, number: int, folder: Path) -> None:
    """Read one case in this process, with all that it says."""
    from everhart.io import read

    case = cases[number]
    _save(case, folder)
    print(read(folder / case.seed.main))


def _save(case: judge.Case, folder: Path) -> None:
    for name, data in case.files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
