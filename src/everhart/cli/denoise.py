"""``everhart denoise``."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import typer

from everhart.cli.options import Inputs, JsonPath, Overwrite, PixelSize, with_parameters_of
from everhart.cli.outputs import Task, check_outputs, make_folder, plan_image_outputs, write_json
from everhart.cli.progress import Progress, progress_bar
from everhart.cli.run import describe, say_error
from everhart.micrograph import Micrograph, __version__
from everhart.operations import OPERATIONS, Parameters, Run
from everhart.restore.names import CLASSICAL

_OPERATION = OPERATIONS["denoise"]


@with_parameters_of(_OPERATION)
def denoise(
    inputs: Inputs,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="The output file; for several images a folder, in which they keep their names.",
        ),
    ],
    overwrite: Overwrite = False,
    data_bar: Annotated[
        Literal["keep", "crop"],
        typer.Option(help="Keep the microscope's data bar under the image, or cut it off."),
    ] = "keep",
    pixel_size_nm: PixelSize = None,
    json_path: JsonPath = None,
    **parameters: Any,
) -> None:
    """Take the noise out of images.

    Dtype, grey range, pixel size and metadata stay as they are. The default needs no training.
    With a model, an image of more than 32 megapixels goes from one TIFF or Zarr to another in
    pieces: memory does not grow with it, and after an interruption the same command goes on.

    \b
    Examples:
      everhart denoise image.tif -o clean.tif
      everhart denoise scans/ -o clean/ --method nlm
      everhart denoise *.tif -o clean/ --model run/model.safetensors
    """
    checked = _OPERATION.check(parameters)
    tasks, notes = plan_image_outputs(inputs, output, overwrite=overwrite, operation="denoise")
    if json_path is not None:
        sources = [task.source for task in tasks]
        written = [task.output for task in tasks]
        check_outputs([json_path], overwrite=overwrite, inputs=sources, others=written)
    for note in notes:
        typer.echo(note, err=True)

    from everhart.restore.large import goes_in_pieces

    learned = checked.model is not None or checked.method not in CLASSICAL
    run = _OPERATION.prepare(checked)  # a wrong method or model is answered before any work
    records: list[dict[str, Any]] = []
    failures = 0
    with progress_bar("denoise") as progress:
        for index, task in enumerate(tasks):
            progress.update(index, len(tasks), str(task))
            make_folder(task.output.parent)
            try:
                options = (overwrite, data_bar, pixel_size_nm)
                if goes_in_pieces(task.source, task.output, learned=learned):
                    records.append(_denoise_large_file(task, checked, *options, progress))
                else:
                    records.append(_denoise_file(task, run, *options))
            except Exception as error:  # a batch goes on after a file that fails
                if len(tasks) == 1:
                    raise
                failures += 1
                words = describe(error)
                say_error(f"{task.source.name}: {words}")
                records.append({"input": str(task.source), "output": None, "error": words})
    if json_path is not None:
        document = {"operation": "denoise", "version": __version__, "images": records}
        write_json(json_path, document, overwrite=overwrite)
    if len(tasks) > 1:
        done = len(tasks) - failures
        typer.echo(f"{done} of {len(tasks)} images written to {tasks[0].output.parent}.", err=True)
    if failures:
        raise typer.Exit(1)


def _denoise_file(
    task: Task,
    run: Run,
    overwrite: bool,
    data_bar: Literal["keep", "crop"],
    pixel_size_nm: float | None,
) -> dict[str, Any]:
    """Denoise one file into another and return the record of it."""
    from everhart.io import read, write

    started, cpu_started = time.perf_counter(), time.process_time()
    image = read(task.source, pixel_size_nm=pixel_size_nm)
    restored = run([image], {}).micrographs[0]
    write(restored, task.output, overwrite=overwrite, data_bar=data_bar)
    return _record(task, restored, started, cpu_started)


def _denoise_large_file(
    task: Task,
    parameters: Parameters,
    overwrite: bool,
    data_bar: Literal["keep", "crop"],
    pixel_size_nm: float | None,
    progress: Progress,
) -> dict[str, Any]:
    """Denoise an image that is larger than memory, block by block."""
    from everhart.restore import make_denoiser
    from everhart.restore.large import denoise_file

    started, cpu_started = time.perf_counter(), time.process_time()
    restored = denoise_file(
        task.source,
        task.output,
        make_denoiser(**parameters.model_dump()),
        overwrite=overwrite,
        pixel_size_nm=pixel_size_nm,
        data_bar=data_bar,
        report=lambda done, total: progress.update(done, total, f"{task} (blocks)"),
    )
    return _record(task, restored, started, cpu_started)


def _record(task: Task, restored: Micrograph, started: float, cpu_started: float) -> dict[str, Any]:
    return {
        "input": str(task.source),
        "output": str(task.output),
        "shape": list(restored.shape),
        "dtype": str(restored.dtype),
        "pixel_size_nm": restored.pixel_size_nm,
        "seconds": round(time.perf_counter() - started, 3),
        "cpu_seconds": round(time.process_time() - cpu_started, 3),
        **restored.history[-1].to_dict(),
    }
