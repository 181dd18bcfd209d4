"""``/v1/images/{id}/tiles``: a large image in pieces, at several sizes."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path as FilePath
from tempfile import NamedTemporaryFile
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, Field

from everhart.service.access import Reader
from everhart.service.limits import limits_of
from everhart.service.problems import ProblemError, may_answer
from everhart.service.routes.images import ImageId, find_image
from everhart.service.state import State, StateOf
from everhart.service.tables import Image
from everhart.service.tiles import TILE_PX, level_shapes, prune

__all__ = ["router"]

router = APIRouter(prefix="/v1/images", tags=["images"])

_MOST = 1 << 20


class Level(BaseModel):
    """An image at one size."""

    level: int = Field(description="0 for the image itself; each further one is half as large.")
    height: int
    width: int
    rows: int = Field(description="How many tiles lie below each other.")
    columns: int = Field(description="How many tiles lie beside each other.")


class Tiles(BaseModel):
    """The tiles that an image has."""

    tile_px: int = Field(description="Height and width of a tile; at the edges it may be smaller.")
    levels: list[Level]


@router.get("/{image_id}/tiles", responses=may_answer(400, 401, 403, 404, 422, 429, 503))
async def list_tiles(state: StateOf, _: Reader, image_id: ImageId) -> Tiles:
    """Say what tiles an image has."""
    image = await find_image(state, image_id)
    return Tiles(
        tile_px=TILE_PX,
        levels=[
            Level(
                level=level,
                height=height,
                width=width,
                rows=-(-height // TILE_PX),
                columns=-(-width // TILE_PX),
            )
            for level, (height, width) in enumerate(level_shapes(image.height, image.width))
        ],
    )


@router.get(
    "/{image_id}/tiles/{level}/{row}/{column}.png",
    response_class=Response,
    responses={
        200: {"content": {"image/png": {}}},
        **may_answer(400, 401, 403, 404, 413, 422, 429, 503, 507),
    },
)
async def get_tile(
    state: StateOf,
    _: Reader,
    image_id: ImageId,
    level: Annotated[int, Path(ge=0, le=40, examples=[0])],
    row: Annotated[int, Path(ge=0, le=_MOST, examples=[0])],
    column: Annotated[int, Path(ge=0, le=_MOST, examples=[0])],
    frame: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """Return a tile as a PNG picture; black and white are those of the whole image."""
    image = await find_image(state, image_id)
    if frame >= image.frames:
        raise ProblemError(422, f"query.frame: the image has {image.frames} frames, from 0 on.")
    shapes = level_shapes(image.height, image.width)
    if (
        level >= len(shapes)
        or row * TILE_PX >= shapes[level][0]
        or (column * TILE_PX >= shapes[level][1])
    ):
        raise ProblemError(404, f"The image has no such tile: GET {_list(image_id)} lists them.")
    png = await asyncio.to_thread(_draw, state, image, frame, level, row, column)
    return Response(png, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


def _list(image_id: str) -> str:
    return f"/v1/images/{image_id}/tiles"


def _draw(state: State, image: Image, frame: int, level: int, row: int, column: int) -> bytes:
    kept = state.scratch / "tiles"
    with ExitStack() as stack:
        output = stack.enter_context(NamedTemporaryFile(dir=state.scratch, suffix=".png"))
        task: dict[str, Any] = {
            "task": "tile",
            "folder": str(kept / f"{image.id}-{frame}"),
            "level": level,
            "row": row,
            "column": column,
            "output": output.name,
        }
        if not state.readers.run(dict(task))["is_there"]:
            source = stack.enter_context(state.store.as_file(image.id, state.scratch))
            task |= {"source": (str(source), image.name), "frame": frame}
            state.readers.run({**task, "limits": limits_of(state.settings)})
            prune(kept, state.settings.tile_cache_mb)
        return FilePath(output.name).read_bytes()
