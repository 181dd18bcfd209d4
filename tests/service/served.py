"""A real server in a process of its own, on loopback; and an image to send to it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from everhart.service.settings import PREFIX

START_S = 60  # a machine under load takes its time


class Server:
    """A running ``everhart serve``."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "everhart", "serve"],
            env=environment({"folder": folder, "port": 0, **settings}),
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        assert self._listening.wait(START_S), self.lines
        self.url = next(word for word in self.lines[-1].split() if word.startswith("http"))
        self.http = httpx.Client(base_url=self.url, timeout=60)

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr:
            for line in self.process.stderr:
                self.lines.append(line.rstrip())
                if "Everhart serves at" in line:
                    self._listening.set()
        self._listening.set()

    def kill(self) -> None:
        self.http.close()
        self.process.kill()
        self.process.wait()
        self._reader.join(5)

    def stop(self) -> int:
        self.http.close()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self._reader.join(5)


@contextmanager
def serving(folder: Path, **settings: object) -> Iterator[Server]:
    server = Server(folder, **settings)
    try:
        yield server
    finally:
        server.stop()


def tiff(seed: int = 0, shape: tuple[int, int] = (64, 96)) -> bytes:
    """A small noisy image as a TIFF file."""
    import tifffile

    rng = np.random.default_rng(seed)
    pixels = rng.normal(120, 12, shape).clip(0, 255).astype(np.uint8)
    pixels[shape[0] // 2 :] += 60
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels)
    return stream.getvalue()


def upload(http: httpx.Client, content: bytes, name: str = "image.tif") -> str:
    answer = http.post("/v1/images", params={"name": name}, content=content)
    assert answer.status_code in (200, 201), answer.text
    return str(answer.json()["id"])


def run_job(http: httpx.Client, operation: str, images: list[str], **more: Any) -> dict[str, Any]:
    answer = http.post("/v1/jobs", json={"operation": operation, "images": images, **more})
    assert answer.status_code == 202, answer.text
    return finished(http, answer.json()["id"])


def finished(http: httpx.Client, job_id: str, patience_s: float = 120) -> dict[str, Any]:
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        answer = http.get(f"/v1/jobs/{job_id}")
        if answer.status_code == 503:
            time.sleep(0.5)
            continue
        job: dict[str, Any] = answer.json()
        if job["state"] in ("done", "failed", "cancelled"):
            return job
        time.sleep(0.05)
    raise AssertionError(f"still {job}")


def results(http: httpx.Client, job_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = http.get(f"/v1/jobs/{job_id}/results").json()["items"]
    return found


@contextmanager
def working(
    folder: Path, *, before: Sequence[str] = (), **settings: object
) -> Iterator[subprocess.Popen[bytes]]:
    """Give a running ``everhart worker``, with words before its own command."""
    process = subprocess.Popen(
        [*before, sys.executable, "-m", "everhart", "worker"],
        env=environment({"folder": folder, **settings}),
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()


def environment(settings: dict[str, object]) -> dict[str, str]:
    """Return the environment of a process that has these settings and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    said = {PREFIX + name.upper(): str(value) for name, value in settings.items()}
    return {**kept, **said, "PYTHONUNBUFFERED": "1"}


def tell(text: str) -> None:
    """Say what was measured, for those who run the tests with -s."""
    sys.stdout.write(f"\n{text}\n")
