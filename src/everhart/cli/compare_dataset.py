"""``everhart compare`` on a data set: settings in, a report with its tables out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from glob import has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from everhart.cli.outputs import check_outputs, write_json
from everhart.cli.progress import progress_bar
from everhart.cli.run import command_line, say_error
from everhart.errors import UsageError

if TYPE_CHECKING:
    from everhart.report.dataset_config import DatasetConfig
    from everhart.report.dataset_result import Failure

__all__ = ["MANY", "named_by_folder", "run_dataset"]

MANY: Final = 8
"""More images than these are a data set, unless it is said that they are not."""


def named_by_folder(references: Sequence[Path] | None) -> bool:
    """Say whether references are to be matched by name: a folder, or a pattern."""
    return any(
        path.is_dir() or (not path.exists() and has_magic(str(path))) for path in references or ()
    )


def run_dataset(
    config: DatasetConfig,
    report: Path,
    *,
    overwrite: bool,
    resume: bool,
    keep_images: Path | None,
    json_path: Path | None,
    config_path: Path | None = None,
) -> None:
    """Compare methods on a data set and write the report.

    Parameters
    ----------
    config
        The settings.
    report
        Name of the page; tables, settings and the folder of cells lie beside it.
    overwrite
        Whether existing outputs may be replaced.
    resume
        Whether to go on with what a run before left.
    keep_images
        Folder for the restored images.
    json_path
        Where to write the JSON once more.
    config_path
        File that the settings come from. It is left as it is where it lies beside the report.

    Raises
    ------
    UsageError
        If the call is wrong, or an output exists.
    typer.Exit
        With status 1, if something failed.
    """
    from everhart.io import image_paths
    from everhart.report import compare_dataset, provenance, write_dataset
    from everhart.report.cells import check_store
    from everhart.report.dataset_checks import check_choices, check_kept
    from everhart.report.dataset_config import write_config
    from everhart.report.dataset_html import dataset_outputs

    labels = check_choices(
        config.methods,
        judge_by=config.judge_by,
        tie_margin=config.tie_margin,
        worst_of=config.worst_of,
    )
    if config.match == "order" and len(config.references) > 1:
        count = len(image_paths(config.images))
        if count != len(config.references):
            raise UsageError(
                f"{len(config.references)} files were given with --reference for {count} images: "
                "give one for all, one for each in the same order, or a folder."
            )
    cells = report.with_suffix(".cells")
    items = config.items()
    check_store(cells, resume=resume, overwrite=overwrite)
    replacing = overwrite or (resume and cells.is_dir())
    settings = report.with_suffix(".yaml")
    outputs = list(dataset_outputs(report).values())
    if config_path is None or config_path.absolute() != settings.absolute():
        outputs.append(settings)
    extra = [json_path] if json_path is not None and json_path not in outputs else []
    check_outputs(
        [*outputs, *extra],
        overwrite=replacing,
        inputs={path for item in items for path in item.files},
    )
    if keep_images is not None:
        check_kept(items, labels, keep_images, unasked=not replacing)
    for sentence in config.changes():
        typer.echo(f"everhart: warning: {sentence}", err=True)
    about = provenance(command_line())
    config = config.model_copy(update={"provenance": about})
    if settings in outputs:
        write_config(config, settings, overwrite=replacing)

    def tell(failure: Failure) -> None:
        what = f"{failure.image}, {failure.method}" if failure.method else failure.image
        say_error(f"{what}: {failure.message}")

    with progress_bar("compare") as progress:
        try:
            compared = compare_dataset(
                items,
                config.methods,
                cells=cells,
                resume=resume,
                overwrite=overwrite,
                keep_images=keep_images,
                on_step=progress.update,
                on_failure=tell,
                **config.arguments(),
            )
        except KeyboardInterrupt:
            typer.echo(f"everhart: what is done is in {cells}; --resume goes on.", err=True)
            raise
    compared = replace(compared, provenance=about)
    write_dataset(compared, report, overwrite=replacing)
    for path in extra:
        write_json(path, compared.to_dict(), overwrite=replacing)
    typer.echo(compared.summary())
    typer.echo(f"The report is {report}", err=True)
    if compared.failures:
        raise typer.Exit(1)
