"""The ``everhart`` command, one module a command group.

No science lives here: a command reads its words, checks that the outputs can be written,
calls the rooms, and says what went wrong in one sentence.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``everhart`` command.

    Parameters
    ----------
    argv
        The words after the command's name; None for those of this process.

    Returns
    -------
    int
        Exit status: 0 done, 1 the work failed, 2 the call was wrong, 130 stopped by Ctrl-C.
    """
    from everhart.cli.run import run

    return run(argv)
