"""The Typer application: which commands there are, each loaded when it is called."""

from __future__ import annotations

import difflib
from importlib import import_module
from typing import Annotated, Any, Final, NamedTuple

import typer
from typer.core import TyperGroup

__all__ = ["COMMANDS", "CommandSource", "app"]


class CommandSource(NamedTuple):
    """Where a command is, and its line in ``everhart --help``."""

    module: str
    function: str
    summary: str


# A command's module is imported when the command is called, not before: `everhart --help`
# must not wait for SciPy. `tests/cli/test_app.py` checks that every entry can be loaded.
COMMANDS: Final[dict[str, CommandSource]] = {
    "denoise": CommandSource("everhart.cli.denoise", "denoise", "Take the noise out of images."),
    "compare": CommandSource(
        "everhart.cli.compare", "compare", "Show methods side by side in an HTML report."
    ),
    "noise": CommandSource("everhart.cli.noise", "noise", "Say what the noise of images is."),
    "info": CommandSource("everhart.cli.info", "info", "Say what is in image files."),
    "convert": CommandSource(
        "everhart.cli.convert", "convert", "Write images in another format, calibration kept."
    ),
    "align": CommandSource(
        "everhart.cli.align", "align", "Lay frames of one field of view on each other."
    ),
    "measure": CommandSource(
        "everhart.cli.measure", "measure", "Measure holes and more, in nm with uncertainty."
    ),
    "segment": CommandSource(
        "everhart.cli.segment", "segment", "Tell classes or objects apart: label images."
    ),
    "simulate": CommandSource(
        "everhart.cli.simulate", "simulate", "Make images with exact truth beside them."
    ),
    "synthesize": CommandSource(
        "everhart.cli.synthesize", "synthesize", "Draw synthetic micrographs."
    ),
    "inpaint": CommandSource(
        "everhart.cli.synthesize", "inpaint", "Draw a hidden part of an image anew."
    ),
    "audit": CommandSource(
        "everhart.cli.audit", "audit", "Judge a generator by real images: copies, likeness."
    ),
    "train": CommandSource("everhart.cli.train", "train", "Train a model from a YAML config."),
    "study": CommandSource("everhart.cli.study", "study", "Run a paper's tables here."),
    "models": CommandSource("everhart.cli.models", "models", "List the models at hand."),
    "export": CommandSource(
        "everhart.cli.export", "export", "Write a model as ONNX, for other programs."
    ),
    "serve": CommandSource(
        "everhart.cli.serve", "serve", "Serve images, jobs and results over HTTP."
    ),
    "worker": CommandSource(
        "everhart.cli.worker", "worker", "Do jobs of a service that runs elsewhere."
    ),
    "watch": CommandSource(
        "everhart.cli.watch", "watch", "Work on images as the microscope writes them."
    ),
    "token": CommandSource(
        "everhart.cli.token", "token", "Make, list and revoke the service's tokens."
    ),
    "desktop": CommandSource(
        "everhart.cli.desktop", "desktop", "Look at images, compare, measure, in a window."
    ),
    "demo": CommandSource(
        "everhart.cli.demo", "demo", "Restore a made-up specimen and show the result."
    ),
}


class LazyGroup(TyperGroup):
    """A command group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the interface of Typer
        """Return the names in the order of :data:`COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Import a command's module and build the command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        source = COMMANDS[cmd_name]
        found = getattr(import_module(source.module), source.function)
        if isinstance(found, typer.Typer):  # a group of commands
            command = typer.main.get_command(found)
        else:
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command(name=cmd_name)(found)
            command = typer.main.get_command(single)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        """Write the list of commands without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, source.summary) for name, source in COMMANDS.items()])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that was asked for, or offer the nearest one."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.5)
            hint = f" did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"Unknown command {name!r}:{hint} Known: {', '.join(COMMANDS)}.")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="everhart",
    cls=LazyGroup,
    help="Restore, simulate and judge electron micrographs (SEM, TEM, STEM).",
    epilog="Begin with `everhart demo`, or with: everhart denoise image.tif -o clean.tif",
    # Typer's boxes of rich text are slow to start and hard to read in a log.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from everhart.micrograph import __version__

        typer.echo(f"everhart {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _everhart(
    ctx: typer.Context,
    version: Annotated[  # noqa: ARG001 - used by its callback
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), err=True)
        raise typer.Exit(2)
