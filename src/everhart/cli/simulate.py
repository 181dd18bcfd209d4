"""``everhart simulate``."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from everhart.cli.options import JsonPath, Overwrite, height_and_width
from everhart.cli.outputs import check_outputs, make_folder, write_json
from everhart.cli.progress import progress_bar
from everhart.errors import UsageError, unknown_name

_FORMATS = ("tif", "png")


def simulate(
    scene: Annotated[str, typer.Argument(metavar="SCENE", help="nand, lines, particles or stack.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for images and truth.")
    ],
    count: Annotated[int, typer.Option("-n", min=1, metavar="N", help="Number of scenes.")] = 1,
    frames: Annotated[
        str,
        typer.Option(
            metavar="N,N,...",
            help="Shots that an image is the mean of; one image for each number.",
        ),
    ] = "1",
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Seed: the same one gives the same images.", show_default="new"),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="HxW", help="Height x width in pixels.", show_default="the scene's"),
    ] = None,
    pixel_size_nm: Annotated[
        float | None,
        typer.Option(
            "--pixel-size-nm", metavar="NM", help="Pixel size.", show_default="the scene's"
        ),
    ] = None,
    defects: Annotated[
        str,
        typer.Option(
            metavar="KIND,...",
            help="Defects to plant: bridge, break, missing_hole, particle, dent; again for more.",
        ),
    ] = "",
    parameter: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="A parameter of the scene, such as cd_nm=12."
        ),
    ] = None,
    microscope: Annotated[
        str,
        typer.Option(metavar="NAME", help="A preset (tin-balls), `camera` (TEM), or `auto`."),
    ] = "auto",
    image_format: Annotated[
        str, typer.Option("--format", metavar="tif|png", help="Format of the images.")
    ] = "tif",
    json_path: JsonPath = None,
    overwrite: Overwrite = False,
) -> None:
    """Make images with exact truth beside them.

    For each scene: an image for every number of shots, the noise-free expectation, a label
    image, the truth as CSV tables and a JSON with all settings. With defects also the
    expectation without them, by which `compare` tells what becomes of them.

    \b
    Examples:
      everhart simulate lines -o made -n 4 --frames 1,8,64 --seed 1
      everhart simulate nand -o made --set kind=oval --defects missing_hole,particle
      everhart simulate stack -o made --size 512x768 --microscope camera
    """
    from everhart.simulate import simulate as make_scene
    from everhart.simulate.scenes import SCENES

    if scene not in SCENES:
        raise unknown_name("scene", scene, SCENES)
    if image_format not in _FORMATS:
        raise unknown_name("format", image_format, _FORMATS)
    shots = _numbers(frames)
    shape = None if size is None else height_and_width(size)
    kinds = [kind.strip() for kind in defects.split(",") if kind.strip()]
    parameters = dict(_assignment(word) for word in parameter or ())
    instrument = _instrument(microscope, scene)
    first = secrets.randbits(32) if seed is None else seed
    if parameters.keys() & {"shape", "pixel_size_nm", "defects", "seed", "rng"}:
        raise UsageError(
            "shape, pixel size, defects and seed have options of their own: see --help."
        )

    import numpy as np

    from everhart.io import write
    from everhart.simulate.export import truth_paths, write_truth

    def draw(index: int) -> tuple[Any, Any]:
        rng = np.random.default_rng([first, index])
        made = make_scene(
            scene, shape=shape, pixel_size_nm=pixel_size_nm, rng=rng, defects=kinds, **parameters
        )
        return made, rng

    begun, rng = draw(0)  # a wrong parameter is found here, before a folder is made
    outputs = [
        path for i in range(count) for path in _image_paths(output, scene, i, shots, image_format)
    ]
    if kinds:
        outputs += [_defect_free_path(output, scene, i) for i in range(count)]
    for i in range(count):
        outputs += truth_paths(begun, output, f"{scene}_{i:04d}").values()
    check_outputs(outputs, overwrite=overwrite, in_new_folder=True)
    check_outputs([json_path], overwrite=overwrite, others=outputs)
    make_folder(output)

    entries = []
    with progress_bar("simulate") as progress:
        for index in range(count):
            progress.update(index, count, f"{scene} {index}")
            if index:
                begun, rng = draw(index)
            stem = f"{scene}_{index:04d}"
            *image_paths, clean_path = _image_paths(output, scene, index, shots, image_format)
            clean: Any = None
            for number, path in zip(shots, image_paths, strict=True):
                image, clean = instrument.expose(begun, rng, number, return_clean=True)
                write(image, path, overwrite=overwrite)
            write(clean, clean_path, overwrite=overwrite)
            record: dict[str, Any] = {
                "seed": first,
                "index": index,
                "images": {
                    path.name: number for number, path in zip(shots, image_paths, strict=True)
                },
                "clean": clean_path.name,
                "instrument": instrument.to_dict(),
            }
            if begun.defect_free is not None:
                path = _defect_free_path(output, scene, index)
                # No instrument here drifts: the expectation is that of any exposure.
                _, plain = instrument.expose(
                    replace(begun, image=begun.defect_free),
                    np.random.default_rng([first, index, 1]),
                    return_clean=True,
                )
                write(plain, path, overwrite=overwrite)
                record["defect_free"] = path.name
            truth = write_truth(begun, output, stem, record=record, overwrite=overwrite)
            entries.append({"truth": str(truth["truth"]), "images": [str(p) for p in image_paths]})
        progress.update(count, count, "")
    images = count * len(shots)
    typer.echo(
        f"{images} image{'s' * (images > 1)} of {scene} with truth in {output} (seed {first})"
    )
    if json_path is not None:
        write_json(json_path, {"scene": scene, "seed": first, "made": entries}, overwrite=overwrite)


def _image_paths(
    folder: Path, scene: str, index: int, shots: Sequence[int], suffix: str
) -> Iterator[Path]:
    """Yield the files of the images, and last that of the noise-free one."""
    for number in shots:
        yield folder / f"{scene}_{index:04d}_F{number:03d}.{suffix}"
    # The expectation is float32, which PNG cannot hold.
    yield folder / f"{scene}_{index:04d}_clean.tif"


def _defect_free_path(folder: Path, scene: str, index: int) -> Path:
    return folder / f"{scene}_{index:04d}_defect-free.tif"


def _instrument(name: str, scene: str) -> Any:
    from everhart.simulate import Camera, Microscope, preset_names

    if name == "camera" or (name == "auto" and scene == "stack"):
        return Camera()
    if name == "auto":
        return Microscope.preset("tin-balls")
    if name not in preset_names():
        raise unknown_name("microscope", name, ("auto", "camera", *preset_names()))
    return Microscope.preset(name)


def _numbers(words: str) -> list[int]:
    try:
        numbers = [int(word) for word in words.split(",")]
    except ValueError:
        numbers = []
    if not numbers or min(numbers) < 1 or len(set(numbers)) < len(numbers):
        raise UsageError(
            f"--frames {words!r} was given: give different whole numbers from 1, such as 1,8,64."
        )
    return numbers


def _assignment(words: str) -> tuple[str, Any]:
    import yaml

    name, equals, value = words.partition("=")
    if not (name and equals and value):
        raise UsageError(f"--set {words!r} was given: give NAME=VALUE, such as cd_nm=12.")
    try:
        parsed = yaml.safe_load(value)
        if isinstance(parsed, str):
            with contextlib.suppress(ValueError):
                parsed = float(parsed)  # YAML 1.1 takes 1e3, without a dot, for a word
        return name.strip().replace("-", "_"), parsed
    except yaml.YAMLError:
        raise UsageError(
            f"--set {words!r} was given: its value is no number, word or list."
        ) from None
