"""Generators on this machine: ``everhart synthesize`` and ``everhart audit`` as child processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryFile

from everhart.desktop.backend import OperationInfo, Outcome, Request
from everhart.errors import EverhartError
from everhart.service.compute import CancelledError

__all__ = ["GeneratorBackend"]

_LOOK_EVERY_S = 0.1
_SAID = "everhart: error: "


class GeneratorBackend:
    """Draws and audits; the one image of a request is the file of the model.

    What is drawn is not an image that something is done to, so it is no operation; the command
    line is asked for it.
    """

    title = "this computer"

    def operations(self) -> list[OperationInfo]:
        """Return nothing: generators have a view of their own."""
        return []

    def run(
        self,
        request: Request,
        folder: Path,
        on_outcome: Callable[[Outcome], None],
        on_word: Callable[[str], None],
        is_cancelled: Callable[[], bool],
    ) -> None:
        """Draw or audit; see :class:`everhart.desktop.backend.Backend`."""
        own = folder / "0000"
        (model,) = request.images
        options: list[str] = []
        for name, value in request.parameters.items():
            options += [f"-{name}" if len(name) == 1 else f"--{name}", str(value)]
        if request.operation == "synthesize":
            on_word("draws")
            words = ["synthesize", "-m", str(model), "-o", str(own), *options]
        else:
            on_word("draws and compares")
            own.mkdir(parents=True)
            report, figures = own / "report.html", own / "audit.json"
            words = ["audit", "-m", str(model), "-o", str(report), "--json", str(figures), *options]
        said = _run(words, is_cancelled)
        files = tuple(sorted(path.name for path in own.iterdir() if path.is_file()))
        summary: dict[str, object] = {"words": said}
        if "audit.json" in files:
            summary |= json.loads((own / "audit.json").read_text("utf-8"))
        on_outcome(Outcome(request.images, own, files, summary))

    def close(self) -> None:
        """Do nothing: a child ends when its job is cancelled."""


def _run(words: Sequence[str], is_cancelled: Callable[[], bool]) -> str:
    """Run a command to its end and return what it prints; raise what it says went wrong."""
    with TemporaryFile() as errors, TemporaryFile() as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "everhart", *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        try:
            while process.poll() is None:
                if is_cancelled():
                    raise CancelledError("It was cancelled.")
                time.sleep(_LOOK_EVERY_S)
        finally:
            process.kill()  # of no effect on one that has ended
            process.wait()
        if process.returncode:
            errors.seek(0)
            said = errors.read()[-4000:].decode("utf-8", "replace").strip().splitlines()
            last = said[-1].removeprefix(_SAID) if said else f"exit status {process.returncode}"
            raise EverhartError(last)
        output.seek(0)
        return output.read(1 << 20).decode("utf-8", "replace").strip()
