"""``/v1/images``: upload, list, look, download."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path as FilePath
from tempfile import NamedTemporaryFile
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy import select
from starlette.requests import ClientDisconnect

from everhart.service.access import Admin, Reader, Runner
from everhart.service.cursors import Cursor, page
from everhart.service.deletion import delete_image
from everhart.service.limits import limits_of
from everhart.service.names import LONGEST
from everhart.service.problems import ProblemError, may_answer
from everhart.service.state import State, StateOf
from everhart.service.tables import Image
from everhart.service.uploads import receive_image

__all__ = ["ImageId", "download", "find_image", "router"]

router = APIRouter(prefix="/v1/images", tags=["images"])

ImageId = Annotated[
    str,
    Path(pattern="^[0-9a-f]{64}$", description="sha256 of the file.", examples=["3f" * 32]),
]

_Pair = Annotated[list[float], Field(min_length=2, max_length=2)]


class ImageInfo(BaseModel):
    """An image that was uploaded."""

    id: str = Field(description="sha256 of the file.", examples=["3f" * 32])
    name: str = Field(description="Its name where it is from.", examples=["lot7_03.tif"])
    bytes: int
    format: str = Field(examples=["TIFF"])
    frames: int
    height: int
    width: int
    dtype: str = Field(examples=["uint8"])
    pixel_size_nm: _Pair | None = Field(
        description="(y, x) in nm; null where the file does not tell.", examples=[[1.5, 1.5]]
    )
    pixel_size_source: str | None
    data_bar_rows: int
    warnings: list[str] = Field(description="What could not be used in the file.")
    created_at: datetime

    @classmethod
    def of(cls, image: Image) -> ImageInfo:
        """Make it from a record."""
        size = None
        if image.pixel_size_y_nm is not None and image.pixel_size_x_nm is not None:
            size = [image.pixel_size_y_nm, image.pixel_size_x_nm]
        plain = {name: getattr(image, name) for name in cls.model_fields if name != "pixel_size_nm"}
        return cls(**plain, pixel_size_nm=size)


class ImageList(BaseModel):
    """A page of images, the newest first."""

    items: list[ImageInfo]
    next: str | None = Field(description="Cursor of the next page; null on the last.")


class Metadata(BaseModel):
    """What the microscope wrote."""

    metadata: dict[str, Any]


_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {
                "schema": {"type": "string", "format": "binary"},
            }
        },
    }
}


@router.post(
    "",
    status_code=201,
    openapi_extra=_BODY,
    responses={
        200: {"model": ImageInfo, "description": "The same file was uploaded before."},
        **may_answer(400, 401, 403, 413, 422, 429, 503, 507),
    },
)
async def upload(
    request: Request,
    response: Response,
    state: StateOf,
    _: Runner,
    name: Annotated[
        str,
        Query(
            min_length=1,
            max_length=LONGEST,
            description="Name of the file, kept as text.",
            examples=["lot7_03.tif"],
        ),
    ],
) -> ImageInfo:
    """Upload an image file of any format that Everhart reads; the body is the file itself."""
    try:
        image, is_new = await receive_image(state, name, request.stream())
    except ClientDisconnect as error:
        raise ProblemError(400, "The upload ended before its end.") from error
    response.headers["Location"] = f"/v1/images/{image.id}"
    if not is_new:
        response.status_code = 200
    return ImageInfo.of(image)


@router.get("", responses=may_answer(400, 401, 403, 422, 429, 503))
async def list_images(
    state: StateOf,
    _: Reader,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    cursor: Cursor = None,
    name: Annotated[
        str | None, Query(max_length=LONGEST, description="Text that the name contains.")
    ] = None,
    format: Annotated[str | None, Query(max_length=40, examples=["TIFF"])] = None,  # noqa: A002
    since: Annotated[datetime | None, Query(description="Uploaded at this time or later.")] = None,
) -> ImageList:
    """List images, the newest first."""
    query = select(Image)
    if name is not None:
        query = query.where(Image.name.icontains(name.replace("\0", ""), autoescape=True))
    if format is not None:
        query = query.where(Image.format == format.replace("\0", ""))
    if since is not None:
        if since.tzinfo is None:
            raise ProblemError(422, "query.since has no time zone: give one, such as Z for UTC.")
        query = query.where(Image.created_at >= since)
    found, following = await page(state.database, query, Image, limit, cursor)
    return ImageList(items=[ImageInfo.of(image) for image in found], next=following)


@router.get("/{image_id}", responses=may_answer(400, 401, 403, 404, 422, 429, 503))
async def get_image(state: StateOf, _: Reader, image_id: ImageId) -> ImageInfo:
    """Say what is known of an image."""
    return ImageInfo.of(await find_image(state, image_id))


@router.delete(
    "/{image_id}", status_code=204, responses=may_answer(400, 401, 403, 404, 409, 422, 429, 503)
)
async def delete(state: StateOf, _: Admin, image_id: ImageId) -> None:
    """Delete an image; refused while a job that has not ended uses it. Results stay."""
    await delete_image(state, image_id)


@router.get("/{image_id}/metadata", responses=may_answer(400, 401, 403, 404, 422, 429, 503))
async def get_metadata(state: StateOf, _: Reader, image_id: ImageId) -> Metadata:
    """Return the whole tree of metadata of an image."""
    return Metadata(metadata=(await find_image(state, image_id)).tree)


@router.get(
    "/{image_id}/original",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/octet-stream": {}}},
        **may_answer(400, 401, 403, 404, 422, 429, 503),
    },
)
async def get_original(state: StateOf, _: Reader, image_id: ImageId) -> StreamingResponse:
    """Return the file as it was uploaded."""
    image = await find_image(state, image_id)
    return await download(state, image.id, image.name, image.bytes, "application/octet-stream")


@router.get(
    "/{image_id}/preview.png",
    response_class=Response,
    responses={
        200: {"content": {"image/png": {}}},
        **may_answer(400, 401, 403, 404, 413, 422, 429, 503),
    },
)
async def get_preview(
    state: StateOf,
    _: Reader,
    image_id: ImageId,
    longest_px: Annotated[int, Query(ge=16, le=4096, description="Longest side.")] = 512,
    frame: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """Return a picture to look at; black and white are the 0.5th and 99.5th percentile."""
    image = await find_image(state, image_id)
    if frame >= image.frames:
        raise ProblemError(422, f"query.frame: the image has {image.frames} frames, from 0 on.")
    png = await asyncio.to_thread(_draw, state, image, frame, longest_px)
    return Response(png, media_type="image/png", headers={"Cache-Control": "private, max-age=3600"})


def _draw(state: State, image: Image, frame: int, longest_px: int) -> bytes:
    with ExitStack() as stack:
        source = stack.enter_context(state.store.as_file(image.id, state.scratch))
        output = stack.enter_context(NamedTemporaryFile(dir=state.scratch, suffix=".png"))
        state.readers.run(
            {
                "task": "preview",
                "path": str(source),
                "name": image.name,
                "limits": limits_of(state.settings),
                "frame": frame,
                "longest_px": longest_px,
                "output": output.name,
            }
        )
        return FilePath(output.name).read_bytes()


async def download(
    state: State, sha256: str, name: str, size: int, media_type: str
) -> StreamingResponse:
    """Stream an object as a file to keep; a browser does not show it."""
    pieces: AsyncIterator[bytes] = await state.store.stream(sha256)
    return StreamingResponse(
        pieces,
        media_type=media_type,
        headers={
            "Content-Length": str(size),
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
            "ETag": f'"{sha256}"',
        },
    )


async def find_image(state: State, image_id: str) -> Image:
    """Return an image, or answer that there is none."""
    image = await state.database.get(Image, image_id)
    if image is None:
        raise ProblemError(404, f"There is no image {image_id}: GET /v1/images lists them.")
    return image
