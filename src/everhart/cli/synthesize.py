"""``everhart synthesize`` and ``everhart inpaint``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from everhart.cli.options import JsonPath, Overwrite, height_and_width
from everhart.cli.outputs import check_outputs, make_folder, write_json
from everhart.cli.progress import progress_bar
from everhart.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from everhart.synthesize.guidance import Guide

_MASKS = "masks"

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
        typer.Option(
            metavar="FILE/DIR",
            help="Label image of what is drawn, or a folder of them, for models that know it; -n "
            "images of each, written with their masks.",
        ),
    ] = None,
    new_masks: Annotated[
        int,
        typer.Option(
            min=0,
            help="Draw from so many new label images, which lie between those of --mask, and not "
            "from these.",
        ),
    ] = 0,
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
    steps: Annotated[int, typer.Option(min=1, help="Calls of the network for an image.")] = 100,
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
      everhart synthesize -m run/model.safetensors -n 5 -o made --mask layouts
      everhart synthesize -m run/model.safetensors -n 4 -o made --mask layouts --new-masks 50
    """
    shape = None if size is None else height_and_width(size)
    layouts = _layouts(mask)
    if new_masks and mask is None:
        raise UsageError(
            f"--new-masks {new_masks} was given without --mask: give the label images that new "
            "ones are to lie between."
        )
    names = [f"new_{k:04d}" for k in range(new_masks)] or [path.stem for path in layouts]
    if not new_masks and mask is not None and not mask.is_dir():
        names = ["synthetic"] * len(layouts)
    jobs = _jobs(names if mask else None, n, seed, output, format_)
    outputs = [path for job in jobs for path in (*job.images, *job.masks)]
    given_files = [path for path in (model, classifier) if path is not None] + layouts
    check_outputs(outputs, overwrite=overwrite, inputs=given_files, in_new_folder=True)
    check_outputs([json_path], overwrite=overwrite, inputs=given_files, others=outputs)
    from everhart.io import write
    from everhart.micrograph import Micrograph
    from everhart.synthesize.generator import Generator

    generator = Generator.load(model, device=device)
    guide = _guide(classifier, device)
    masks: list[NDArray[Any] | None] = [_read_mask(path) for path in layouts]
    masks = masks or [None]
    for given in masks:
        generator.check(label=label, mask=given, classifier=guide, size=shape)
    if new_masks:
        masks = _between(masks, new_masks, seed)
    make_folder(output)
    if mask is not None:
        make_folder(output / _MASKS)
    entries = []
    with progress_bar("synthesize") as progress:
        for number, (job, given) in enumerate(zip(jobs, masks, strict=True)):

            def tell(done: int, of: int, number: int = number) -> None:
                progress.update(number * of + done, len(jobs) * of, "steps")

            images = generator.synthesize(
                n,
                seed=seed + number * n,
                label=label,
                mask=given,
                guidance=guidance,
                classifier=guide,
                size=shape,
                sampler=sampler,
                steps=steps,
                overlap=overlap,
                start_level=start_level,
                on_progress=tell,
            )
            # A new mask has no file but the one that is written with its image.
            sources = job.masks if new_masks or not layouts else [layouts[number]] * n
            for k, (image, path) in enumerate(zip(images, job.images, strict=True)):
                write(image, path, overwrite=overwrite)
                entry = {"output": str(path), **image.history[-1].to_dict()}
                entries.append({**entry, "mask": str(sources[k])} if sources else entry)
            for path in job.masks:
                assert given is not None
                labels = Micrograph(given, generator.pixel_size_nm, {"synthetic": True})
                write(labels, path, overwrite=overwrite)
    if json_path is not None:
        write_json(json_path, {"operation": "synthesize", "images": entries}, overwrite=overwrite)
    made = "1 synthetic image is" if len(entries) == 1 else f"{len(entries)} synthetic images are"
    with_masks = "" if mask is None else f", with the masks in {output / _MASKS}"
    typer.echo(f"{made} in {output}{with_masks}", err=True)


class _Job(NamedTuple):
    """Images that are drawn by one label image, or by none, and where the label image goes."""

    images: list[Path]
    masks: list[Path]


def _layouts(mask: Path | None) -> list[Path]:
    if mask is None:
        return []
    from everhart.io import image_paths

    return image_paths(mask)


def _jobs(names: list[str] | None, n: int, seed: int, output: Path, suffix: str) -> list[_Job]:
    """Decide where it goes: image and mask by the same name, by that of the label image."""
    with_masks = names is not None
    jobs = []
    for number, stem in enumerate(names or ["synthetic"]):
        own = [f"{stem}_{seed + number * n + k:06d}" for k in range(n)]
        images = [output / f"{name}.{suffix}" for name in own]
        masks = [output / _MASKS / f"{name}.png" for name in own] if with_masks else []
        jobs.append(_Job(images, masks))
    return jobs


def _between(masks: list[NDArray[Any] | None], count: int, seed: int) -> list[NDArray[Any] | None]:
    import numpy as np

    from everhart.synthesize.masks import new_masks

    known = [mask for mask in masks if mask is not None]
    return [*new_masks(known, count, np.random.default_rng(seed))]


def _read_mask(path: Path) -> NDArray[Any]:
    from everhart.io import read

    pixels = read(path).pixels
    if pixels.ndim != 2 or pixels.dtype.kind not in "iub" or pixels.min() < 0:
        raise UsageError(
            f"{path} has the shape {pixels.shape} and pixels of {pixels.dtype}: a mask is a single "
            "image that holds the numbers of classes."
        )
    # PNG has 8 and 16 bits; numbers of classes need no more.
    if pixels.max() > 65535:
        raise UsageError(f"{path} holds the class {pixels.max()}: classes go up to 65535.")
    return pixels.astype("uint8" if pixels.max() < 256 else "uint16")


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
    layout: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Label image of the whole, for models that know masks: what is drawn follows it.",
        ),
    ] = None,
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
    given_files = [path for path in (image, mask, model, layout, classifier) if path is not None]
    check_outputs([output], overwrite=overwrite, inputs=given_files)
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
            mask=None if layout is None else _read_mask(layout),
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
