"""Several processes that train one model: which of them this is."""

from __future__ import annotations

import os

__all__ = ["rank"]


def rank(devices: int) -> int:
    """Return the number of this process among those that train one model; 0 if it is alone.

    Process 0 is the one that the user started, which starts the others with the same command and
    writes all files.

    Parameters
    ----------
    devices
        How many there are, by the config.
    """
    if devices == 1:  # schedulers set the same variables, also for jobs that train alone
        return 0
    for name in ("RANK", "LOCAL_RANK"):
        value = os.environ.get(name, "")
        if value.isdecimal():
            return int(value)
    return 0
