"""From the words of the command line to an exit status, never a traceback."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Final

__all__ = ["DEBUG_VARIABLE", "command_line", "describe", "run", "say_error"]

DEBUG_VARIABLE: Final = "EVERHART_DEBUG"
"""Environment variable that asks for tracebacks."""

_STOPPED: Final = 130  # what shells give to a process that SIGINT ended

_words: ContextVar[tuple[str, ...]] = ContextVar("_words", default=())


def run(argv: Sequence[str] | None = None) -> int:
    """Run the command line; see :func:`everhart.cli.main`."""
    import typer

    from everhart.cli.app import app

    command = typer.main.get_command(app)
    words = None if argv is None else list(argv)
    _words.set(tuple(sys.argv[1:] if words is None else words))
    try:
        with _short_warnings(), _no_log_lines():
            status = command.main(args=words, prog_name="everhart", standalone_mode=False)
            sys.stdout.flush()
    except (KeyboardInterrupt, typer.Abort):
        return _stopped()
    except BrokenPipeError:
        # The reader of our output left (`everhart models | head -1`): nobody to tell. Python
        # would complain once more when it flushes at exit, unless there is nothing to flush to.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _failed(error)
    if status == _STOPPED:
        return _stopped()
    return status if isinstance(status, int) else 0


def command_line() -> str:
    """Return the command that is being run, quoted so that it can be run again."""
    words = ["everhart", *_words.get()]
    if os.name == "nt":
        import subprocess

        return subprocess.list2cmdline(words)
    import shlex

    return shlex.join(words)


def say_error(message: str) -> None:
    """Print one error line to stderr."""
    print(f"everhart: error: {message}", file=sys.stderr)  # noqa: T201


def describe(error: BaseException) -> str:
    """Return the one sentence for an error: ours as it is, others with the way to more.

    Parameters
    ----------
    error
        Any exception.

    Returns
    -------
    str
        One line.
    """
    from everhart.errors import EverhartError

    if isinstance(error, EverhartError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return (
            "The memory ran out: close other programs, or work on a smaller image or a part of it."
        )
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"The system reports {error.strerror!r}{where}: check the file, folder and disk."
    first_line = (str(error).strip().splitlines() or [""])[0]
    return (
        f"Unexpected {type(error).__name__}: {first_line} - this is a fault of Everhart and not of "
        f"your call; set {DEBUG_VARIABLE}=1 to see the traceback, and report it."
    )


def _failed(error: Exception) -> int:
    from everhart.errors import UsageError

    if hasattr(error, "format_message"):  # Typer's own: a wrong option, a missing argument
        message = " ".join(error.format_message().split()).rstrip(".")
        message = message.replace(": Value error, ", ": ")  # pydantic's words for our own
        context: Any = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "everhart"
        say_error(f"{message}. See `{path} --help`.")
        return int(getattr(error, "exit_code", 2))
    if _debugging():
        import traceback

        traceback.print_exception(error)
    say_error(describe(error))
    return 2 if isinstance(error, UsageError) else 1


def _stopped() -> int:
    print("everhart: stopped; outputs already written are complete.", file=sys.stderr)  # noqa: T201
    return _STOPPED


def _debugging() -> bool:
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


@contextlib.contextmanager
def _no_log_lines() -> Iterator[None]:
    """Keep the log lines of libraries, such as tifffile's on broken tags, off the terminal.

    Python prints them where nobody has set up logging; a handler that does nothing stops that.
    """
    if _debugging():
        yield
        return
    handler = logging.NullHandler()
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)


@contextlib.contextmanager
def _short_warnings() -> Iterator[None]:
    """Show warnings as one line without the code that they come from.

    Only `UserWarning` is meant for the person at the terminal; what libraries say to
    programmers is hidden unless tracebacks are asked for.
    """
    if _debugging():
        yield
        return

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, UserWarning):
            print(f"everhart: warning: {' '.join(str(message).split())}", file=sys.stderr)  # noqa: T201

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
