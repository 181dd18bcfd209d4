#!/usr/bin/env python
"""Send broken files to a server: no answer may be a fault of it, and it must live on.

    python scripts/fuzz_service.py --count 10000 --seed 0

The files are those of scripts/fuzz_readers.py, whole files of every kind cut off and mutated. What
is accepted is asked for as a preview and a tile too. Exit status 1 if an answer was a 5xx, took
more than 10 s, or spoke of the server's own files; or if the server died or kept temporary files.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "io" / "fuzz"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "service"))

import judge
import psutil
from seeds import seeds_of
from served import serving

from everhart.io.registry import formats

AT_ONCE = 4
ALLOWED = (200, 201, 413, 422)


def main() -> int:
    """Send the files; give the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=10_000, help="uploads")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names = [known.name.casefold() for known in formats() if not known.is_folder]
    kinds = [(name, seeds) for name in names if (seeds := seeds_of(name))]
    each = -(-options.count // len(kinds))
    cases = [judge.Cases(seeds, each // 10, each - each // 10, options.seed) for _, seeds in kinds]
    todo = [(one, number) for number in range(each) for one in cases][: options.count]
    statuses: Counter[int] = Counter()
    bad: list[str] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), readers=2, workers=0) as server,
        ThreadPoolExecutor(AT_ONCE) as threads,
    ):
        own = psutil.Process(server.process.pid)
        started = time.monotonic()

        def send(which: tuple[judge.Cases, int]) -> None:
            case = which[0][which[1]]
            content = case.files[case.seed.main]
            label = f"{case.seed.name} {case.number}"
            begun = time.monotonic()
            answer = server.http.post(
                "/v1/images", params={"name": case.seed.main}, content=content
            )
            statuses[answer.status_code] += 1
            if answer.status_code not in ALLOWED or folder in answer.text:
                bad.append(f"{label}: {answer.status_code} {answer.text[:300]}")
            if time.monotonic() - begun > 10:
                bad.append(f"{label}: {time.monotonic() - begun:.1f} s")
            if answer.status_code == 201:
                image = answer.json()["id"]
                for path in ("preview.png?longest_px=64", "tiles/0/0/0.png"):
                    more = server.http.get(f"/v1/images/{image}/{path}")
                    if more.status_code not in ALLOWED:
                        bad.append(f"{label} {path}: {more.status_code} {more.text[:300]}")

        list(threads.map(send, todo))
        took = time.monotonic() - started
        cpu = sum(sum(p.cpu_times()[:2]) for p in (own, *own.children(recursive=True)))
        memory = own.memory_info().rss / 1e6
        if server.http.get("/ready").status_code != 200:
            bad.append("the server is not ready any more")
        left = [p.name for p in (Path(folder) / "scratch").iterdir() if p.name != "tiles"]
        if left:
            bad.append(f"left over: {left}")
    print(
        f"{len(todo)} uploads of {len(kinds)} formats in {took:.0f} s, {cpu:.0f} s of processor, "
        f"server {memory:.0f} MB; {dict(sorted(statuses.items()))}; {len(bad)} bad"
    )
    for line in bad[:50]:
        print(" ", line)
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
