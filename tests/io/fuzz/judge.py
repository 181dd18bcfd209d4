"""Broken files read in a child that may crash, hang or run out of memory; and the verdicts."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import math
import os
import resource
import shutil
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mutations import cut, mutate

from everhart.errors import FileFormatError
from everhart.io import DEFAULT_LIMITS, FileWarning, read
from everhart.io.registry import format_to_read
from everhart.micrograph import Micrograph

#: What reading a broken file may come to.
CLEAN = ("error", "right", "other")
SECONDS, MEMORY_BYTES = 5.0, 500_000_000


@dataclass(frozen=True)
class Seed:
    """A whole file.

    Parameters
    ----------
    name
        What it is.
    files
        Contents by file name; several for formats of several files, and folders.
    main
        The one that is read, a file or a folder.
    """

    name: str
    files: Mapping[str, bytes]
    main: str


@dataclass(frozen=True)
class Case:
    """A broken file, made again from its number."""

    number: int
    seed: Seed
    files: Mapping[str, bytes]
    cut: bool


@dataclass
class Report:
    """What came of the cases of one format."""

    verdicts: Counter[str] = field(default_factory=Counter)
    bad: list[tuple[int, str, str]] = field(default_factory=list)
    slowest_s: float = 0.0
    most_bytes: int = 0
    stray: Counter[str] = field(default_factory=Counter)


class Cases:
    """The broken files of one format: truncations first, then mutations."""

    def __init__(self, seeds: list[Seed], truncations: int, mutations: int, seed: int) -> None:
        self.seeds, self.seed = seeds, seed
        self.truncations, self.mutations = truncations, mutations
        self.contents = [data for one in seeds for data in one.files.values()]

    def __len__(self) -> int:
        return self.truncations + self.mutations

    def __getitem__(self, number: int) -> Case:
        one = self.seeds[number % len(self.seeds)]
        if number < self.truncations:
            # Of several files, each is cut in turn.
            turn, which = divmod(number // len(self.seeds), len(one.files))
            turns = max(4, -(-self.truncations // (len(self.seeds) * len(one.files))))
            files = cut(one.files, sorted(one.files)[which], min(turn, turns - 1), turns)
            return Case(number, one, files, cut=True)
        rng = np.random.default_rng([self.seed, number])
        return Case(number, one, mutate(rng, one.files, one.main, self.contents), cut=False)


def run(cases: Cases, folder: Path, *, tell: Callable[[int], None] = lambda _: None) -> Report:
    """Judge all cases, each batch in a forked child; the next one takes over from a dead one."""
    report = Report()
    following = 0
    while following < len(cases):
        last = following - 1
        for line in _child(cases, folder, following):
            told = json.loads(line)
            if "stray" in told:
                report.stray[told["stray"]] += 1
            elif "verdict" in told:
                last = told["number"]
                _add(report, last, told["verdict"], told["detail"])
                report.slowest_s = max(report.slowest_s, told["seconds"])
                report.most_bytes = max(report.most_bytes, told["bytes"])
                tell(last)
            else:  # the child is dead
                if last + 1 < len(cases):
                    status = told["status"]
                    verdict = "hang" if status == -signal.SIGALRM else "crash"
                    _add(report, last + 1, verdict, f"status {status}")
                    last += 1
        following = last + 1
    return report


def _add(report: Report, number: int, verdict: str, detail: str) -> None:
    report.verdicts[verdict] += 1
    if verdict not in CLEAN:
        report.bad.append((number, verdict, detail))


def _child(cases: Cases, folder: Path, start: int) -> Iterator[str]:
    """Fork a child that judges cases from `start`, and give its lines."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        status = 1
        try:
            with os.fdopen(writing, "w", buffering=1) as out:
                _work(cases, folder, start, out)
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as lines:
        yield from (line for line in lines if line.endswith("\n"))
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        yield json.dumps({"status": status})


def _work(cases: Cases, folder: Path, start: int, out: Any) -> None:
    logging.disable()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)  # decoders complain
    wholes = {}
    for seed in cases.seeds:  # this loads what reading needs
        path = _put(folder, seed.files, seed.main)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.suppress(FileFormatError):  # a seed may hold no image
                image = read(path)
                wholes[seed.name] = (np.array(image.pixels), image.pixel_size_nm)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    # The limit on addresses is a backstop, above what is measured.
    top = used + MEMORY_BYTES * 3 // 2
    resource.setrlimit(resource.RLIMIT_AS, (top, top))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for number in range(start, len(cases)):
        case = cases[number]
        path = _put(folder, case.files, case.seed.main)
        before = _reset_peak()
        handles = _handles()
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        begin = time.perf_counter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            verdict, detail = judge(path, wholes.get(case.seed.name), whole=not case.cut)
        seconds = time.perf_counter() - begin
        signal.setitimer(signal.ITIMER_REAL, 0)
        peak = _status("VmHWM") - before
        if verdict in CLEAN and peak > MEMORY_BYTES:
            verdict, detail = "memory", f"{peak / 1e6:.0f} MB"
        if verdict in CLEAN and _handles() > handles:
            gc.collect()
            if _handles() > handles:
                verdict, detail = "leak", "a file stays open"
        for warning in caught:
            if warning.category is not FileWarning:
                text = f"{warning.category.__name__}: {str(warning.message)[:80]}"
                print(json.dumps({"stray": text}), file=out)
        line = {"number": number, "verdict": verdict, "detail": detail, "seconds": seconds,
                "bytes": peak}  # fmt: skip
        print(json.dumps(line), file=out)


def judge(path: Path, expected: tuple[Any, Any] | None, *, whole: bool) -> tuple[str, str]:
    """Read a broken file and say what came of it.

    Parameters
    ----------
    path
        The file.
    expected
        Pixels and pixel size of the unbroken one; None if that is refused.
    whole
        Whether nothing was cut off, so that other pixels may be right.
    """
    try:
        image = read(path)
        _use(image)
        verdict = _compare(image, expected, whole=whole)
        del image
    except BaseException as error:
        verdict = _error(error)
    if verdict[0] not in CLEAN or path.is_dir():
        return verdict
    return _frames(path) or verdict


def _error(error: BaseException) -> tuple[str, str]:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or "llocate" in str(cause):
            return "memory", repr(cause)[:200]
        cause = cause.__cause__ or cause.__context__
    text = str(error)
    if not isinstance(error, FileFormatError):
        return "class", repr(error)[:300]
    if "\n" in text or not text.endswith(".") or not 20 < len(text) < 600:
        return "sentence", repr(text[:300])
    return "error", ""


def _use(image: Micrograph) -> None:
    """Use all of an image, as a program would."""
    size = image.pixel_size_nm
    assert size is None or all(0 < s < math.inf for s in size)
    assert image.pixels.dtype.isnative
    with np.errstate(all="ignore"):
        float(np.sum(image.pixels, dtype=np.float32))
    text = json.dumps(dict(image.metadata))
    assert len(text) < 50_000_000


def _compare(image: Micrograph, expected: Any, *, whole: bool) -> tuple[str, str]:
    if expected is not None:
        pixels, size = expected
        same = image.shape == pixels.shape and image.dtype == pixels.dtype
        if same and np.array_equal(image.pixels, pixels, equal_nan=pixels.dtype.kind == "f"):
            if whole or image.pixel_size_nm in (None, size):
                return "right", ""
            return "wrong success", f"{image.pixel_size_nm} nm, where it was {size}"
    if whole:
        return "other", ""
    was = "refused" if expected is None else f"{expected[0].shape}"
    return "wrong success", f"{image.shape} {image.dtype}, where it was {was}"


def _frames(path: Path) -> tuple[str, str] | None:
    """Open the file as a stack, if it is one; None if that is in order."""
    try:
        known = format_to_read(path)
        if known.frames is None:
            return None
        reader = known.frames(path, DEFAULT_LIMITS)
        try:
            for number in {0, reader.shape[0] // 2, reader.shape[0] - 1}:
                frame = reader.frame(number)
                assert frame.shape == reader.shape[1:]
                assert frame.dtype == reader.dtype
        finally:
            reader.close()
    except BaseException as error:
        verdict = _error(error)
        return None if verdict[0] in CLEAN else (verdict[0], f"frames: {verdict[1]}")
    return None


def _put(folder: Path, files: Mapping[str, bytes], main: str) -> Path:
    place = folder / "case"
    shutil.rmtree(place, ignore_errors=True)
    for name, data in files.items():
        file = place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return place / main


def _reset_peak() -> int:
    """Let the peak of this process's memory begin anew; give the memory in use, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(name: str) -> int:
    with Path("/proc/self/status").open() as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name + ":"))


def _handles() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208
