"""``everhart study``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from everhart.cli.outputs import make_folder
from everhart.errors import UsageError, unknown_name

study = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Run a paper's tables here.\n\nExample: everhart study run renin-table2 --scale smoke",
)


@study.command("list")
def list_studies() -> None:
    """List the studies.

    \b
    Example:
      everhart study list
    """
    from everhart.studies.catalogue import STUDIES

    width = max(map(len, STUDIES))
    for name, known in STUDIES.items():
        typer.echo(f"{name:{width}}  {known.title}")


@study.command("run")
def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the study: see list.")],
    scale: Annotated[
        str,
        typer.Option(
            metavar="smoke|cpu|gpu",
            help="Minutes, an hour or two on two cores, or the paper's own scale.",
        ),
    ] = "smoke",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="Folder that studies of one scale share, for data and models.",
            show_default="runs/studies-SCALE",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Repetitions.", show_default="the scale's"),
    ] = None,
) -> None:
    """Run a study; called again, it goes on where it was stopped.

    DIR/NAME/table.md is the table, results.json the figures, pictures/ what can be seen.

    \b
    Examples:
      everhart study run renin-table2 --scale smoke
      everhart study run renin-fig9 --scale cpu -o studies --seeds 1
    """
    from everhart.studies.catalogue import find_study
    from everhart.studies.study import SCALES

    known = find_study(name)
    if scale not in SCALES:
        raise unknown_name("scale", scale, SCALES)
    folder = output if output is not None else Path("runs") / f"studies-{scale}"
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"The output {folder} is a file: give the name of a folder.")
    if output is None:
        folder.parent.mkdir(exist_ok=True)
    make_folder(folder)
    known.run(SCALES[scale], folder, seeds=seeds, progress=lambda text: typer.echo(text, err=True))
    table = folder / name / "table.md"
    sys.stdout.write(table.read_text(encoding="utf-8"))
    typer.echo(f"The results are in {table.parent}", err=True)
