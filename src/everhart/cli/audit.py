"""``everhart audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from everhart.cli.options import JsonPath, Overwrite
from everhart.cli.outputs import check_outputs, write_json
from everhart.cli.progress import progress_bar
from everhart.cli.run import command_line


def audit(
    model: Annotated[
        Path, typer.Option("--model", "-m", metavar="MODEL", help="File of a trained generator.")
    ],
    real: Annotated[
        list[str],
        typer.Option(
            metavar="DIR",
            help="Real images of the same kind, those that were learned from among them.",
        ),
    ],
    n: Annotated[int, typer.Option("-n", min=4, help="Number of images that are drawn.")] = 64,
    steps: Annotated[int, typer.Option(min=1, help="Calls of the network for an image.")] = 250,
    sampler: Annotated[
        Literal["ddpm", "ddim", "dpm"], typer.Option(help="How images are drawn.")
    ] = "ddpm",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the images.")] = 0,
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
    Example:
      everhart audit -m run/model.safetensors --real images -o audit.html --embed
    """
    check_outputs([output, grid, json_path], overwrite=overwrite, inputs=[model])
    from everhart.report import provenance
    from everhart.report.audit import write_audit_html
    from everhart.synthesize.audit import audit as judge
    from everhart.synthesize.audit_images import draw_grid, real_images
    from everhart.synthesize.generator import Generator
    from everhart.synthesize.model_card import embed_audit

    generator = Generator.load(model, device=device)
    learned, held_out = real_images(generator, real)
    with progress_bar("audit") as progress:
        made = generator.synthesize(
            n,
            seed=seed,
            sampler=sampler,
            steps=steps,
            on_progress=lambda done, of: progress.update(done, of, "steps"),
        )
    pixels = [generator.grey.normalise(image.pixels) for image in made]
    found = judge(pixels, learned, held_out, seed=seed)
    typer.echo(found.summary())
    if grid is not None:
        draw_grid(pixels, learned, found, grid, overwrite=overwrite)
    about = provenance(command_line())
    if output is not None:
        facts = {
            **about,
            "model": generator.sha256,
            "training data": generator.header.card.training_data,
            "drawn": f"seeds from {seed}, {sampler}, {steps} steps",
        }
        write_audit_html(
            found, pixels, learned, held_out, output,
            name=generator.header.card.name, facts=facts, overwrite=overwrite,
        )  # fmt: skip
    document = {
        "operation": "audit",
        "date": about["date"],
        "model": generator.header.card.name,
        "model_hash": generator.sha256,
        "images": {"made": n, "learned": len(learned), "held_out": len(held_out)},
        "parameters": {"seed": seed, "sampler": sampler, "steps": steps},
        **found.to_dict(),
    }
    if json_path is not None:
        write_json(json_path, document, overwrite=overwrite)
    if embed:
        embed_audit(model, document)
