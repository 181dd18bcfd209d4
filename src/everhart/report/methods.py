"""The methods of a comparison: their names, and what to show for each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from everhart.errors import UsageError
from everhart.restore.names import CLASSICAL

__all__ = ["check_methods", "is_model_file", "label"]


def is_model_file(method: str) -> bool:
    """Return whether a method is given by the file of a model."""
    return method.lower().endswith(".safetensors")


def label(method: str) -> str:
    """Return the name of a method to show: a model file without its folder."""
    if not is_model_file(method):
        return method
    path = Path(method)
    # A training run's result is always model.safetensors: the run's folder tells them apart.
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


def check_methods(methods: Sequence[str]) -> None:
    """Check that methods can be run, before any is.

    Parameters
    ----------
    methods
        Names of classical methods and models, or ``.safetensors`` files.

    Raises
    ------
    UsageError
        If none or one twice is given, a name is unknown, or a file is missing.
    """
    from everhart.restore.models import find_model

    if not methods:
        raise UsageError(f"No method was given: name one or more of {', '.join(CLASSICAL)}.")
    for index, method in enumerate(methods):
        if method in methods[:index]:
            raise UsageError(f"The method {method!r} was given twice: give each once.")
        if method not in CLASSICAL:
            find_model(method)
