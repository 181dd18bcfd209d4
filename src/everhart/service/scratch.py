"""The folder of temporary files, cleared of what a killed process left."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path

from everhart.service.settings import Settings

__all__ = ["make_scratch"]

_LEFT_BEHIND_S = 24 * 3600


def make_scratch(settings: Settings) -> Path:
    """Make the folder, and delete what is in it and older than a day."""
    folder = settings.folder / "scratch"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    oldest = time.time() - _LEFT_BEHIND_S
    for entry in folder.iterdir():
        with suppress(OSError):
            if entry.stat().st_mtime < oldest:
                if entry.is_dir():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()
    return folder
