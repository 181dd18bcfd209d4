"""``everhart audit``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import typer
from numpy.typing import NDArray

from everhart.cli.options import JsonPath, Overwrite, PixelSize
from everhart.cli.outputs import check_outputs, write_json
from everhart.cli.progress import progress_bar
from everhart.cli.run import command_line
from everhart.errors import UsageError

if TYPE_CHECKING:
    from everhart.synthesize.audit_images import AuditImages


def audit(
    real: Annotated[
        list[str],
        typer.Option(
            metavar="DIR",
            help="Real images of the same kind, those that were learned from among them.",
        ),
    ],
    model: Annotated[
        Path | None,
        typer.Option("--model", "-m", metavar="MODEL", help="File of a trained generator."),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="Synthetic images that there are; none are drawn."),
    ] = None,
    learned: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIR", help="Without a model: the real images that were learned from."
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", min=4, help="Number of images that are drawn.")] = 64,
    steps: Annotated[int, typer.Option(min=1, help="Calls of the network for an image.")] = 100,
    sampler: Annotated[
        Literal["ddpm", "ddim", "dpm"], typer.Option(help="How images are drawn.")
    ] = "ddpm",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the images.")] = 0,
    measure: Annotated[
        Literal["lines", "layers", "particles", "holes"] | None,
        typer.Option(help="Compare measured sizes, too: what everhart measure finds."),
    ] = None,
    measure_with: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="An option of that measurement, such as polarity=dark or unit=px.",
        ),
    ] = None,
    pixel_size_nm: PixelSize = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="REPORT.html", help="Report with pictures."),
    ] = None,
    grid: Annotated[
        Path | None,
        typer.Option(metavar="OUT.png", help="Picture: synthetic images, each with its nearest."),
    ] = None,
    embed: Annotated[
        bool, typer.Option("--embed", help="Write the figures into the model's card as well.")
    ] = False,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where the model runs.")
    ] = "auto",
    json_path: JsonPath = None,
    overwrite: Overwrite = False,
) -> None:
    """Judge a generator by real images: is it like them, and more than copies of them.

    Distances are given over those of real images from each other: 1 is as good as real. They mean
    nothing if there are copies, or too little variety, which is said.

    \b
    Examples:
      everhart audit -m run/model.safetensors --real images -o audit.html --embed
      everhart audit --images made --real images --learned images/learned
      everhart audit -m run/model.safetensors --real images --measure lines --pixel-size-nm 0.8
    """
    if model is None and not images:
        raise UsageError("Neither a model nor images were given: give -m MODEL or --images DIR.")
    if embed and model is None:
        raise UsageError("--embed writes into a model's card: give the model with -m MODEL.")
    if measure_with and measure is None:
        raise UsageError("--measure-with was given without --measure: say what is measured.")
    if pixel_size_nm is not None and measure is None:
        raise UsageError("--pixel-size-nm was given without --measure: nothing else needs it.")
    inputs = [] if model is None else [model]
    check_outputs([output, grid, json_path], overwrite=overwrite, inputs=inputs)
    from everhart.cli.audit_sizes import Measuring
    from everhart.report import provenance
    from everhart.report.audit import write_audit_html
    from everhart.restore.features import pooled_features
    from everhart.synthesize.audit import audit as judge
    from everhart.synthesize.audit import check_counts
    from everhart.synthesize.audit_images import audit_images, draw_grid, read_made
    from everhart.synthesize.generator import Generator
    from everhart.synthesize.model_card import embed_audit
    from everhart.synthesize.sizes import compare_sizes

    generator = None if model is None else Generator.load(model, device=device)
    card = None if generator is None else generator.header.card
    known = () if card is None else (card.model_extra or {}).get("learned_sha256", ())

    def read_real(made: Sequence[NDArray[Any]]) -> AuditImages:
        return audit_images(
            made, real, learned_sha256=known, learned=learned or (), pixel_size_nm=pixel_size_nm
        )

    measuring = None if measure is None else Measuring(measure, measure_with or ())
    real_sizes = None
    if images:
        raw = read_made(images, pixel_size_nm=pixel_size_nm)
        drawn: dict[str, Any] = {"images": list(images)}
    else:
        assert generator is not None
        # Real images that do not fit are told of before the work.
        before = read_real([np.zeros(generator.shape)])
        check_counts(n, len(before.held_out))
        if measuring is not None:
            measuring.check(pixel_size_nm or generator.pixel_size_nm, "The generator")
            real_sizes = measuring.of_real(before.held_out_micrographs)
        with progress_bar("audit") as progress:
            raw = generator.synthesize(
                n,
                seed=seed,
                sampler=sampler,
                steps=steps,
                on_progress=lambda done, of: progress.update(done, of, "steps"),
            )
        if pixel_size_nm is not None:
            raw = [replace(image, pixel_size_nm=2 * (pixel_size_nm,)) for image in raw]
        drawn = {"seed": seed, "sampler": sampler, "steps": steps}
    judged = read_real([image.pixels for image in raw])
    sizes = None
    if measuring is not None:
        if real_sizes is None:
            real_sizes = measuring.of_real(judged.held_out_micrographs)
        sizes = compare_sizes(measuring.kind, measuring.of_made(raw), real_sizes, seed)
        drawn["measured_with"] = measuring.parameters
        if pixel_size_nm is not None:
            drawn["pixel_size_nm"] = pixel_size_nm
    found = judge(
        judged.made, judged.learned, judged.held_out,
        seed=seed, features=pooled_features, sizes=sizes,
    )  # fmt: skip
    typer.echo(found.summary())
    if grid is not None:
        draw_grid(judged.made, judged.learned, found, grid, overwrite=overwrite)
    about = provenance(command_line())
    name = ", ".join(images or ()) if card is None else card.name
    if output is not None:
        facts = dict(about)
        if generator is not None and card is not None:
            facts |= {"model": generator.sha256, "training data": card.training_data}
        facts["drawn"] = (
            f"images in {', '.join(images)}"
            if images
            else f"seeds from {seed}, {sampler}, {steps} steps"
        )
        write_audit_html(
            found, judged.made, judged.learned, judged.held_out, output,
            name=name, facts=facts, overwrite=overwrite,
        )  # fmt: skip
    document = {
        "operation": "audit",
        "date": about["date"],
        "model": None if card is None else card.name,
        "model_hash": None if generator is None else generator.sha256,
        "images": {
            "made": len(judged.made),
            "learned": len(judged.learned),
            "held_out": len(judged.held_out),
        },
        "parameters": drawn,
        **found.to_dict(),
    }
    if json_path is not None:
        write_json(json_path, document, overwrite=overwrite)
    if embed and model is not None:
        embed_audit(model, document)
