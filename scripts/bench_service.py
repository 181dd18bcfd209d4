#!/usr/bin/env python
"""Measure the service: uploads, reads, queueing and overhead of jobs; memory over many of them.

    python scripts/bench_service.py                 # a few minutes
    python scripts/bench_service.py --long 1000     # memory and open files over 1,000 jobs

Clients are processes on the same machine. Times on a clock are those of a machine that does
nothing else, or they say little: the load is printed beside them, and seconds of processor too.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "service"))

from served import Server, finished, serving, tiff, upload

CLIENTS = 8
SHAPE = (2048, 3072)
"""6.3 MB as a TIFF of 8 bit."""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--uploads", type=int, default=10, help="of each client")
    parser.add_argument("--reads", type=int, default=100, help="of each client")
    parser.add_argument("--jobs", type=int, default=20, help="one after the other, for overhead")
    parser.add_argument("--long", type=int, default=0, help="only memory, over so many jobs")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as server:
        while server.http.get("/ready").status_code != 200:
            time.sleep(0.1)
        if options.long:
            memory(server, options.long)
        else:
            uploads(server, options.uploads)
            reads(server, options.reads)
            overhead(server, options.jobs)
            queued(server)
    print(f"load {os.getloadavg()[0]:.1f}")


class Processor:
    """Seconds of processor that the server and its children take."""

    def __init__(self, server: Server) -> None:
        self.own = psutil.Process(server.process.pid)

    def __enter__(self) -> Processor:
        self.before, self.begun = self._seconds(), time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall_s = time.monotonic() - self.begun
        own, others = self._seconds()
        self.server_s, self.children_s = own - self.before[0], others - self.before[1]

    def _seconds(self) -> tuple[float, float]:
        own = sum(self.own.cpu_times()[:2])
        others = sum(sum(child.cpu_times()[:2]) for child in self.own.children(recursive=True))
        return own, others


def uploads(server: Server, each: int) -> None:
    """Every client uploads files of 6.3 MB, no two alike."""
    port = server.http.base_url.port
    with Processor(server) as used:
        waits, client_s = at_once(_uploading, [(port, number, each) for number in range(CLIENTS)])
    told("upload of 6.3 MB, 8 clients", waits, used, client_s)


def reads(server: Server, each: int) -> None:
    """Every client reads the record of one image again and again."""
    image = upload(server.http, tiff(0), "a.tif")
    port = server.http.base_url.port
    with Processor(server) as used:
        waits, client_s = at_once(_reading, [(port, image, each)] * CLIENTS)
    told("GET of a record, 8 clients", waits, used, client_s)
    with Processor(server) as used:
        waits, client_s = at_once(_reading, [(port, image, each)])
    told("GET of a record, 1 client", waits, used, client_s)


def queued(server: Server) -> None:
    """Queue 100 jobs one after the other, while a worker does them."""
    image = upload(server.http, tiff(1), "a.tif")
    body = {"operation": "noise", "images": [image]}
    with Processor(server) as used:
        made = [server.http.post("/v1/jobs", json=body).json()["id"] for _ in range(100)]
    print(
        f"100 jobs queued: {used.wall_s:.2f} s; processor: server {used.server_s:.2f} s, "
        f"children {used.children_s:.2f} s"
    )
    for job in made:
        finished(server.http, job)


def overhead(server: Server, count: int) -> None:
    """Time of a job from its request to its last event, less what its process computed."""
    image = upload(server.http, tiff(2), "a.tif")
    body = {"operation": "denoise", "parameters": {"method": "gaussian"}, "images": [image]}
    parts = []
    with Processor(server) as used:
        for _ in range(count + 2):
            begun = time.monotonic()
            job = server.http.post("/v1/jobs", json=body).json()["id"]
            answered = time.monotonic()
            with server.http.stream("GET", f"/v1/jobs/{job}/events") as events:
                for _ in events.iter_lines():
                    pass
            ended = time.monotonic()
            told_of: dict[str, Any] = server.http.get(f"/v1/jobs/{job}").json()
            (result,) = server.http.get(f"/v1/jobs/{job}/results").json()["items"]
            created, started, done = (
                datetime.fromisoformat(told_of[f"{what}_at"]).timestamp()
                for what in ("created", "started", "ended")
            )
            computed = result["provenance"]["seconds"]
            parts.append(
                (ended - begun - computed, answered - begun, started - created, done - started,
                 computed)
            )  # fmt: skip
    ms = 1e3 * np.median(np.array(parts[2:]), axis=0)
    print(
        f"overhead of a job: median {ms[0]:.0f} ms; to the answer {ms[1]:.0f}, to the start "
        f"{ms[2]:.0f}, from start to end {ms[3]:.0f}, of which computed {ms[4]:.0f}; processor: "
        f"server {1e3 * used.server_s / (count + 2):.0f} ms, children "
        f"{1e3 * used.children_s / (count + 2):.0f} ms"
    )


def memory(server: Server, count: int) -> None:
    """Memory and open files of the server, over uploads and jobs."""
    own = psutil.Process(server.process.pid)
    for number in range(count + 1):
        image = upload(server.http, tiff(number), f"{number}.tif")
        body = {"operation": "denoise", "parameters": {"method": "gaussian"}, "images": [image]}
        job = server.http.post("/v1/jobs", json=body).json()["id"]
        assert finished(server.http, job)["state"] == "done"
        if number in (10, 50) or number % 100 == 0:
            children = sum(child.memory_info().rss for child in own.children(recursive=True))
            print(
                f"{number} uploads and jobs: {own.memory_info().rss / 1e6:.0f} MB, "
                f"{own.num_fds()} open files; children {children / 1e6:.0f} MB",
                flush=True,
            )


def told(what: str, waits: list[float], used: Processor, client_s: float) -> None:
    """Print what clients waited, and what it took."""
    p50, p95 = 1e3 * np.percentile(waits, (50, 95))
    n = len(waits)
    print(
        f"{what}: {n} requests, p50 {p50:.1f} ms, p95 {p95:.1f} ms; processor a request: server "
        f"{1e3 * used.server_s / n:.1f} ms, children {1e3 * used.children_s / n:.1f} ms, client "
        f"{1e3 * client_s / n:.1f} ms",
        flush=True,
    )


def at_once(do: Any, arguments: list[tuple[Any, ...]]) -> tuple[list[float], float]:
    """Run clients in processes of their own; give all waits, and seconds of processor."""
    with multiprocessing.get_context("spawn").Pool(len(arguments)) as pool:
        found = pool.starmap(do, arguments)
    return [wait for waits, _ in found for wait in waits], sum(seconds for _, seconds in found)


def _uploading(port: int, client: int, count: int) -> tuple[list[float], float]:
    bodies = [tiff(1000 * client + number, SHAPE) for number in range(count)]
    return _asking(port, [("POST", f"/v1/images?name={n}.tif", b) for n, b in enumerate(bodies)])


def _reading(port: int, image: str, count: int) -> tuple[list[float], float]:
    return _asking(port, [("GET", f"/v1/images/{image}", b"")] * count)


def _asking(port: int, requests: list[tuple[str, str, bytes]]) -> tuple[list[float], float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    waits = []
    begun = time.process_time()
    for method, path, body in requests:
        start = time.monotonic()
        connection.request(method, path, body=body or None)
        answer = connection.getresponse()
        json.loads(answer.read())
        waits.append(time.monotonic() - start)
        assert answer.status in (200, 201), answer.status
    return waits, time.process_time() - begun


if __name__ == "__main__":
    main()
