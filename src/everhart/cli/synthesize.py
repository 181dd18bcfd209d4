"""``everhart synthesize`` and ``everhart inpaint``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from everhart.cli.options import JsonPath, Overwrite, height_and_width
from everhart.cli.outputs import check_outputs, make_folder, write_json
from everhart.cli.progress import progress_bar
from everhart.errors import UsageError

if TYPE_CHECKING:
    from everhart.synthesize.guidance import Guide

Model = Annotated[
    Path, typer.Option("--model", "-m", metavar="MODEL", help="File of a trained generator.")
]
Seed = Annotated[int, typer.Option(min=0, help="Seed: the same one gives the same images.")]
Label = Annotated[
    str | None, typer.Option(metavar="CLASS", help="Class of the images, for models that know it.")
]
Guidance = Annotated[
    float,
    typer.Option(min=0.0, help="Weight of label and mask: 1 as learned, more for what is typical."),
]
Classifier = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Trained classifier that draws to the label; else the model itself."
    ),
]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where the model runs.")]


def synthesize(
    model: Model,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of the images.")
    ],
    n: Annotated[int, typer.Option("-n", min=1, help="Number of images.")] = 1,
    label: Label = None,
    mask: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Label image of what is drawn, for models that know it."),
    ] = None,
    guidance: Guidance = 1.0,
    classifier: Classifier = None,
    size: Annotated[
        str | None,
        typer.Option(
            metavar="HxW",
            help="Height and width in pixels.",
            show_default="the mask's, or the training images'",
        ),
    ] = None,
    sampler: Annotated[
        Literal["ddpm", "ddim", "dpm"],
        typer.Option(help="ddpm keeps the grain; ddim and dpm need fewer steps."),
    ] = "ddpm",
    steps: Annotated[int, typer.Option(min=1, help="Calls of the network for an image.")] = 250,
    overlap: Annotated[
        float, typer.Option(min=0.0, max=0.5, help="Part of a tile that the next one covers.")
    ] = 0.25,
    start_level: Annotated[
        float,
        typer.Option(min=0.0, max=1.0, help="How far from noise details begin, in large images."),
    ] = 0.6,
    seed: Seed = 0,
    format_: Annotated[
        Literal["tif", "png"], typer.Option("--format", help="Format of the images.")
    ] = "tif",
    device: Device = "auto",
    json_path: JsonPath = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw synthetic micrographs with a trained generator.

    Their metadata say that they are synthetic, with the model's hash and the seed.

    \b
    Examples:
      everhart synthesize -m run/model.safetensors -n 16 -o made
      everhart synthesize -m run/model.safetensors -n 4 -o made --label oval --guidance 2
      everhart synthesize -m run/model.safetensors -o made --label oval --classifier c.safetensors
      everhart synthesize -m run/model.safetensors -o made --size 1024x1024
    """
    shape = None if size is None else height_and_width(size)
    paths = [output / f"synthetic_{seed + k:06d}.{format_}" for k in range(n)]
    given_files = [path for path in (model, mask, classifier) if path is not None]
    check_outputs(paths, overwrite=overwrite, inputs=given_files, in_new_folder=True)
    check_outputs([json_path], overwrite=overwrite, inputs=given_files, others=paths)
    from everhart.io import read, write
    from everhart.synthesize.generator import Generator

    generator = Generator.load(model, device=device)
    guide = _guide(classifier, device)
    given = None if mask is None else read(mask).pixels
    with progress_bar("synthesize") as progress:
        images = generator.synthesize(
            n,
            seed=seed,
            label=label,
            mask=given,
            guidance=guidance,
            classifier=guide,
            size=shape,
            sampler=sampler,
            steps=steps,
            overlap=overlap,
            start_level=start_level,
            on_progress=lambda done, of: progress.update(done, of, "steps"),
        )
    make_folder(output)
    for image, path in zip(images, paths, strict=True):
        write(image, path, overwrite=overwrite)
    if json_path is not None:
        entries = [
            {"output": str(path), **image.history[-1].to_dict()}
            for image, path in zip(images, paths, strict=True)
        ]
        write_json(json_path, {"operation": "synthesize", "images": entries}, overwrite=overwrite)
    typer.echo(f"{n} synthetic image{'s are' if n > 1 else ' is'} in {output}", err=True)


def inpaint(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The image.")],
    mask: Annotated[
        Path, typer.Option(metavar="FILE", help="Nonzero where it is to be drawn anew.")
    ],
    model: Model,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="File of the result.")
    ],
    label: Label = None,
    guidance: Guidance = 1.0,
    classifier: Classifier = None,
    steps: Annotated[int, typer.Option(min=1, help="Noise levels.")] = 250,
    jump: Annotated[int, typer.Option(min=1, help="Levels that it goes back up.")] = 10,
    repeats: Annotated[
        int, typer.Option(min=1, help="How often: what is drawn comes to fit what is there.")
    ] = 10,
    seed: Seed = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Draw a hidden part of an image so that it fits the rest.

    What is not hidden stays exactly as it is.

    \b
    Example:
      everhart inpaint image.tif --mask hole.png -m run/model.safetensors -o filled.tif
    """
    check_outputs(
        [output], overwrite=overwrite, inputs=[p for p in (image, mask, model, classifier) if p]
    )
    from everhart.io import read, write
    from everhart.synthesize.generator import Generator

    given, hidden = read(image), read(mask).pixels != 0
    if given.ndim != 2:
        raise UsageError(
            f"{image} has the shape {given.shape}: give a single image, not a stack of frames."
        )
    generator = Generator.load(model, device=device)
    guide = _guide(classifier, device)
    with progress_bar("inpaint") as progress:
        filled = generator.inpaint(
            given,
            hidden,
            seed=seed,
            label=label,
            guidance=guidance,
            classifier=guide,
            steps=steps,
            jump=jump,
            repeats=repeats,
            on_progress=lambda done, of: progress.update(done, of, image.name),
        )
    write(filled, output, overwrite=overwrite)


def _guide(classifier: Path | None, device: str) -> Guide | None:
    if classifier is None:
        return None
    from everhart.synthesize.guidance import Guide

    return Guide.load(classifier, device=device)
