"""``everhart denoise``."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Any, Literal

import typer

from everhart.cli.cluster import Cluster, each, model_stamp, on_cluster, with_whole_path
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
    cluster: Cluster = None,
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
      everhart denoise scans/ -o clean/ --cluster tcp://10.0.0.1:8786
    """
    checked = _OPERATION.check(parameters)
    tasks, notes = plan_image_outputs(inputs, output, overwrite=overwrite, operation="denoise")
    if json_path is not None:
        sources = [task.source for task in tasks]
        written = [task.output for task in tasks]
        check_outputs([json_path], overwrite=overwrite, inputs=sources, others=written)
    for note in notes:
        typer.echo(note, err=True)

    for folder in {task.output.parent for task in tasks}:
        make_folder(folder)
    _prepared(checked.model_dump_json())  # a wrong method or model is answered before any work
    if cluster is not None:  # whose workers are in folders of their own
        tasks = [Task(task.source.absolute(), task.output.absolute()) for task in tasks]
        checked = with_whole_path(checked)
    work = DenoiseFile(checked.model_dump_json(), overwrite, data_bar, pixel_size_nm)
    records: dict[Task, dict[str, Any]] = {}
    failures = 0
    with progress_bar("denoise") as progress:
        done = (
            each(replace(work, progress=progress), tasks)
            if cluster is None
            else on_cluster(replace(work, overwrite=True), tasks, cluster)
        )
        progress.update(0, len(tasks), str(tasks[0]))
        for number, (task, record) in enumerate(done, 1):
            progress.update(number, len(tasks), str(task))
            if not isinstance(record, Exception):
                records[task] = record
                continue
            if len(tasks) == 1:
                raise record
            failures += 1
            words = describe(record)
            say_error(f"{task.source.name}: {words}")
            records[task] = {"input": str(task.source), "output": None, "error": words}
    if json_path is not None:
        document = {
            "operation": "denoise",
            "version": __version__,
            "images": [records[task] for task in tasks],
        }
        write_json(json_path, document, overwrite=overwrite)
    if len(tasks) > 1:
        good = len(tasks) - failures
        typer.echo(f"{good} of {len(tasks)} images written to {tasks[0].output.parent}.", err=True)
    if failures:
        raise typer.Exit(1)


@dataclass(frozen=True)
class DenoiseFile:
    """The work for one file; it can be sent to another process."""

    parameters: str
    """The parameters of the operation as JSON."""
    overwrite: bool
    data_bar: Literal["keep", "crop"]
    pixel_size_nm: float | None
    progress: Progress | None = None

    def __call__(self, task: Task) -> dict[str, Any]:
        """Denoise one file into another and return the record of it."""
        from everhart.restore.large import goes_in_pieces

        started, cpu_started = time.perf_counter(), time.process_time()
        parameters = _OPERATION.parameters.model_validate_json(self.parameters)
        learned = parameters.model is not None or parameters.method not in CLASSICAL
        in_pieces = goes_in_pieces(task.source, task.output, learned=learned)
        restored = self._in_pieces(task, parameters) if in_pieces else self._in_memory(task)
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

    def _in_memory(self, task: Task) -> Micrograph:
        from everhart.io import read, write

        image = read(task.source, pixel_size_nm=self.pixel_size_nm)
        restored = _prepared(self.parameters)([image], {}).micrographs[0]
        write(restored, task.output, overwrite=self.overwrite, data_bar=self.data_bar)
        return restored

    def _in_pieces(self, task: Task, parameters: Parameters) -> Micrograph:
        from everhart.restore import make_denoiser
        from everhart.restore.large import denoise_file

        def report(done: int, total: int) -> None:
            if self.progress is not None:
                self.progress.update(done, total, f"{task} (blocks)")

        return denoise_file(
            task.source,
            task.output,
            make_denoiser(**parameters.model_dump()),
            overwrite=self.overwrite,
            pixel_size_nm=self.pixel_size_nm,
            data_bar=self.data_bar,
            report=report,
        )


def _prepared(parameters: str) -> Run:
    """Return the run of the parameters; a process that does many files loads the model once."""
    return _kept(parameters, model_stamp(_OPERATION.parameters.model_validate_json(parameters)))


@lru_cache(maxsize=1)
def _kept(parameters: str, _: tuple[int, int] | None) -> Run:
    return _OPERATION.prepare(_OPERATION.parameters.model_validate_json(parameters))
