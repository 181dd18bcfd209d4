"""The errors that Everhart raises on purpose.

Each message is one sentence that says what was given, what is allowed and what to do.
The command line turns them into exit statuses: :class:`UsageError` into 2, any other
:class:`EverhartError` into 1.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EverhartError(Exception):
    """The work failed (exit status 1)."""


class UsageError(EverhartError, ValueError):
    """The call was wrong: a parameter, a name, a missing input (exit status 2)."""


class FileFormatError(EverhartError):
    """A file is broken, is not what it claims to be, or holds no image."""


class LimitError(FileFormatError):
    """A file claims more pixels, bands or bytes than the reader's limits allow."""


def unknown_name(what: str, given: str, allowed: Iterable[str]) -> UsageError:
    """Make the error for a name that is not known, offering the nearest known one.

    Parameters
    ----------
    what
        What the name stands for, such as ``"method"``.
    given
        The name that was given.
    allowed
        The names that are known.

    Returns
    -------
    UsageError
        The error, to be raised by the caller.

    Examples
    --------
    >>> print(unknown_name("method", "medain", ["median", "nlm"]))
    Unknown method 'medain': did you mean 'median'? Known: median, nlm.
    """
    names = list(allowed)
    folded = {name.casefold(): name for name in reversed(names)}
    near = difflib.get_close_matches(given.casefold(), folded, n=1, cutoff=0.5)
    hint = f": did you mean {folded[near[0]]!r}?" if near else "."
    return UsageError(f"Unknown {what} {given!r}{hint} Known: {', '.join(names)}.")
