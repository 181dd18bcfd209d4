"""``everhart audit``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from everhart.cli.options import JsonPath, Overwrite
from everhart.cli.outputs import check_outputs, write_json
from everhart.cli.progress import progress_bar


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
    grid: Annotated[
        Path | None,
        typer.Option(metavar="OUT.png", help="Picture: synthetic images, each with its nearest."),
    ] = None,
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
      everhart audit -m run/model.safetensors --real images --grid audit.png
    """
    check_outputs([grid, json_path], overwrite=overwrite, inputs=[model])
    from everhart.synthesize.audit import audit as judge
    from everhart.synthesize.audit_images import draw_grid, real_images
    from everhart.synthesize.generator import Generator

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
    if json_path is not None:
        document = {
            "operation": "audit",
            "model": generator.header.card.name,
            "model_hash": generator.sha256,
            "images": {"made": n, "learned": len(learned), "held_out": len(held_out)},
            "parameters": {"seed": seed, "sampler": sampler, "steps": steps},
            **found.to_dict(),
        }
        write_json(json_path, document, overwrite=overwrite)
