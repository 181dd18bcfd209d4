"""The options that commands share, and those that come from an operation's parameters."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

import typer

from everhart.errors import UsageError

if TYPE_CHECKING:  # pydantic is not needed for these options alone
    from everhart.operations import Operation

__all__ = [
    "Inputs",
    "JsonPath",
    "Overwrite",
    "PixelSize",
    "height_and_width",
    "with_parameters_of",
]

Inputs = Annotated[
    list[str], typer.Argument(metavar="IN...", help="Image files or folders of images.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace outputs that exist.")]
JsonPath = Annotated[
    Path | None,
    typer.Option("--json", metavar="PATH", help="Write the results here, to read by machine."),
]


def height_and_width(words: str) -> tuple[int, int]:
    """Return the size that ``--size`` gives."""
    try:
        height, width = (int(word) for word in words.lower().split("x"))
    except ValueError:
        raise UsageError(
            f"--size {words!r} was given: give height x width in pixels, such as 512x768."
        ) from None
    return height, width


def _checked_pixel_size(size_nm: float | None) -> float | None:
    if size_nm is not None and not 0 < size_nm < math.inf:
        raise UsageError(
            f"The pixel size --pixel-size-nm {size_nm:g} was given: give a positive number of nm, "
            "such as 1.5."
        )
    return size_nm


PixelSize = Annotated[
    float | None,
    typer.Option(
        "--pixel-size-nm",
        metavar="NM",
        callback=_checked_pixel_size,
        help="Pixel size in nm, in place of what the file says.",
    ),
]

F = TypeVar("F", bound=Callable[..., Any])


def with_parameters_of(operation: Operation[Any]) -> Callable[[F], F]:
    """Give a command the options of an operation, with its names, defaults and words.

    The command takes them as ``**parameters``. Command line, service and desktop so ask for
    the same things in the same words, and get the same numbers.

    Parameters
    ----------
    operation
        Entry of :data:`everhart.operations.OPERATIONS`.

    Returns
    -------
    callable
        Decorator of a function whose last parameter is ``**parameters``.
    """

    def decorate(function: F) -> F:
        hints = get_type_hints(function, include_extras=True)
        signature = inspect.signature(function)
        own = [
            parameter.replace(annotation=hints[parameter.name])
            for parameter in signature.parameters.values()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        options = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=_default(field.get_default(call_default_factory=True)),
                annotation=_option(name, field.annotation, field),
            )
            for name, field in operation.parameters.model_fields.items()
        ]
        keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
        function.__signature__ = signature.replace(  # type: ignore[attr-defined]
            parameters=[*keyword, *options]
        )
        function.__annotations__ = {p.name: p.annotation for p in (*keyword, *options)}
        function.__annotations__["return"] = signature.return_annotation
        return function

    return decorate


def _option(name: str, annotation: Any, field: Any) -> Any:
    declaration = "--" + name.replace("_", "-")
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    if annotation is bool:
        declaration = f"{declaration}/--no-{name.replace('_', '-')}"
    elif get_origin(annotation) in (tuple, list) and get_args(annotation)[0] is str:
        annotation = str  # names with commas between them
    elif any(get_origin(part) is tuple for part in get_args(annotation)):
        annotation = str | None  # numbers with commas between them, or nothing
    default_words = extra.get("default_words")
    option = typer.Option(
        declaration,
        *([str(extra["short"])] if "short" in extra else []),
        help=field.description,
        metavar=extra.get("metavar"),
        show_default=str(default_words) if default_words else True,
    )
    return Annotated[annotation, option]


def _default(value: Any) -> Any:
    return ",".join(value) if isinstance(value, tuple) else value
