"""``everhart demo``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from everhart.cli.options import Overwrite
from everhart.cli.outputs import check_outputs, make_folder, write_json
from everhart.cli.progress import progress_bar
from everhart.cli.run import command_line
from everhart.restore.names import CLASSICAL, SHIPPED

if TYPE_CHECKING:
    import numpy as np

    from everhart.report import ImageComparison, MethodResult

_SHAPE: Final = (480, 720)
_PANEL_PX: Final = 400
_FILES: Final = ("noisy.tif", "truth.tif", "restored.tif", "side-by-side.png", "report.html")


def demo(
    folder: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for what is made.")
    ] = Path("everhart-demo"),
    scene: Annotated[
        str, typer.Option(metavar="SCENE", help="Specimen: nand, lines, particles or stack.")
    ] = "nand",
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another specimen.")] = 2026,
    model: Annotated[
        str,
        typer.Option(metavar="NAME_OR_FILE", help="The model that restores it."),
    ] = SHIPPED[0],
    overwrite: Overwrite = False,
    open_report: Annotated[
        bool, typer.Option("--open", help="Open the report in the browser.")
    ] = False,
) -> None:
    """Restore a made-up specimen and show the result beside its truth.

    A specimen is drawn, imaged by a noisy microscope that is modelled on a real one, and restored
    by the model and by the classical methods. Nothing is downloaded.

    \b
    Examples:
      everhart demo
      everhart demo --scene lines -o lines-demo --open
    """
    import numpy as np

    outputs = {name: folder / name for name in _FILES}
    record = folder / "report.json"
    check_outputs([*outputs.values(), record], overwrite=overwrite, in_new_folder=True)

    from everhart.io import write
    from everhart.report import Comparison, compare_image, provenance, write_html
    from everhart.restore import make_denoiser
    from everhart.simulate import Microscope, simulate

    denoiser = make_denoiser(model=model)  # a wrong name is answered before any work
    rng = np.random.default_rng(seed)
    specimen = simulate(scene, shape=_SHAPE, rng=rng)
    noisy, ideal = Microscope.preset("tin-balls").expose(specimen, rng, return_clean=True)
    truth = replace(ideal, pixels=np.clip(np.rint(ideal.pixels), 0, 255).astype(noisy.dtype))

    methods = [*CLASSICAL, model]
    with progress_bar("demo") as progress:
        compared = compare_image(
            noisy,
            methods,
            reference=truth,
            alignment="none",  # the truth has the drift of the scan in it
            default_name=f"{scene}, seed {seed}",
            on_method=lambda name, done: progress.update(done, len(methods), name),
        )
    make_folder(folder)
    write(noisy, outputs["noisy.tif"], overwrite=overwrite)
    write(truth, outputs["truth.tif"], overwrite=overwrite)
    write(denoiser(noisy), outputs["restored.tif"], overwrite=overwrite)
    learned = compared.methods[-1]
    classical = max(compared.methods[:-1], key=lambda result: result.figures["affine_psnr_db"])
    write(_sheet(compared, classical, learned), outputs["side-by-side.png"], overwrite=overwrite)
    comparison = Comparison((compared,), provenance(command_line()))
    write_html(comparison, outputs["report.html"], overwrite=overwrite)
    write_json(record, comparison.to_dict(), overwrite=overwrite)

    typer.echo(_words(compared, classical, learned))
    typer.echo(f"\nMade in {folder}:")
    for name, what in (
        ("noisy.tif", "what the microscope saw"),
        ("restored.tif", f"restored by {learned.name}"),
        ("truth.tif", "the specimen without noise"),
        ("side-by-side.png", f"noisy, {classical.name}, {learned.name} and truth"),
        ("report.html", "all methods, to compare in a browser"),
    ):
        typer.echo(f"  {name:<18}{what}")
    report = outputs["report.html"].resolve()
    typer.echo(f"\nOpen {report.as_uri()}")
    if open_report:
        import webbrowser

        if not webbrowser.open(report.as_uri()):
            typer.echo("No browser could be started; open the file by hand.", err=True)


def _words(compared: ImageComparison, classical: MethodResult, learned: MethodResult) -> str:
    """Return the small table that is printed."""
    lines = [f"{'':<28}PSNR      SSIM"]
    for title, result in (
        ("noisy", compared.noisy),
        (f"best classical: {classical.name}", classical),
        (learned.name, learned),
    ):
        figures = result.figures
        lines.append(f"{title:<28}{figures['psnr_db']:.2f} dB  {figures['ssim']:.3f}")
    return "\n".join(lines)


def _sheet(
    compared: ImageComparison, classical: MethodResult, learned: MethodResult
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return noisy, best classical, restored and truth side by side, where structure is."""
    import numpy as np

    from everhart.report.pictures import contrast_window, detail_region, structured_point, to_grey
    from everhart.report.sheet import side_by_side

    truth = compared.reference
    if truth is None:  # for the type checker: the demo's specimen always has its truth
        raise ValueError("a side-by-side sheet needs a reference")
    window = contrast_window(compared.noisy.picture, truth, np.dtype(compared.dtype))
    centre = structured_point(truth, _PANEL_PX)
    region = detail_region(truth.shape, centre, _PANEL_PX)
    panels = [
        (
            result.name,
            f"{result.figures['psnr_db']:.2f} dB, SSIM {result.figures['ssim']:.3f}",
            to_grey(region.of(result.picture), window),
        )
        for result in (compared.noisy, classical, learned)
    ]
    return side_by_side([*panels, ("truth", "", to_grey(region.of(truth), window))])
