"""The standard deviation of a root, also where its square is about as large as its own error."""

from __future__ import annotations

import numpy as np

__all__ = ["root_sd"]


def root_sd(root: float, variance_sd: float) -> float:
    """Return the deviation of a root: half of what two deviations less of its square take off.

    So a root is within two deviations of 0 where its square is. From there on it soon is the
    usual ``variance_sd / (2 root)``; a square of 0 gives the root that 2 deviations more have.

    Parameters
    ----------
    root
        A standard deviation, at least 0.
    variance_sd
        The standard deviation of its square.

    Examples
    --------
    >>> round(root_sd(10.0, 1.0), 3), round(root_sd(1.0, 0.5), 3), root_sd(0.0, 2.0)
    (0.05, 0.5, 1.0)
    """
    lower = max(root**2 - 2 * variance_sd, 0.0)
    upper = max(root**2, 2 * variance_sd)
    return float(np.sqrt(upper) - np.sqrt(lower)) / 2
