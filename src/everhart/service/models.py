"""Models that were uploaded: kept by content, and asked for by name or by hash."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence

from sqlalchemy import or_, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from everhart.errors import unknown_name
from everhart.operations.base import Parameters
from everhart.restore.models import model_paths
from everhart.restore.names import CLASSICAL
from everhart.service.compute import ComputePool, CrashError
from everhart.service.problems import ProblemError
from everhart.service.progress import ENDED
from everhart.service.state import State
from everhart.service.tables import Job, Model
from everhart.service.uploads import Received, received

__all__ = ["delete_model", "models_of", "receive_model"]

SUFFIX = ".safetensors"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_FIRST = re.compile(rb".{8}\{", re.DOTALL)


async def receive_model(state: State, name: str, body: AsyncIterator[bytes]) -> tuple[Model, bool]:
    """Keep an uploaded model.

    Parameters
    ----------
    state
        What the routes share.
    name
        Its name; a suffix ``.safetensors`` is left out.
    body
        The file, in pieces.

    Returns
    -------
    Model, bool
        Its record, and whether it is new.

    Raises
    ------
    ProblemError
        If it is no model that can be used, or its name is taken.
    """
    name = name.removesuffix(SUFFIX)
    if not _NAME.fullmatch(name) or re.fullmatch("[0-9a-f]{64}", name):
        raise ProblemError(
            422,
            f"A model cannot be called {name!r}: give 1 to 64 small letters, digits, dots, "
            "underscores and hyphens, a letter or digit first.",
        )
    if name in (*CLASSICAL, *model_paths()):
        raise ProblemError(409, f"The name {name} is taken by Everhart: give another one.")
    async with received(state, body) as file:
        known = await state.database.get(Model, name)
        if known is None:
            model = await asyncio.to_thread(_looked_at_and_kept, state, file, name)
            try:
                async with state.database.writing() as session:
                    session.add(model)
            except IntegrityError:  # somebody else took the name at the same time
                known = await state.database.get(Model, name)
                if known is None:
                    raise
            else:
                return model, True
    if known.sha256 != file.sha256:
        raise ProblemError(
            409, f"There is another model {name}: give another name, or delete that one first."
        )
    return known, False


async def delete_model(state: State, name: str) -> None:
    """Delete a model; results that were made with it stay.

    Raises
    ------
    ProblemError
        If there is none of this name, or a job that has not ended uses it.
    """
    async with state.database.writing() as session:
        model = await session.get(Model, name, with_for_update=True)
        if model is None:
            raise ProblemError(404, f"No model {name} was uploaded: GET /v1/models lists them.")
        waiting = await session.execute(select(Job.id, Job.models).where(Job.state.not_in(ENDED)))
        for job_id, models in waiting:
            if model.sha256 in models.values():
                raise ProblemError(
                    409,
                    f"The job {job_id} uses the model {name}: cancel the job, or wait for its end.",
                )
        await session.delete(model)


async def models_of(session: AsyncSession, parameters: Parameters) -> dict[str, str]:
    """Return the sha256 of each uploaded model that parameters name, locked for this commit.

    Only names and hashes pass: a path would be one of the server's files.

    Raises
    ------
    UsageError
        If a method or model is not known.
    """
    here = [*CLASSICAL, *model_paths()]
    asked = {name: what for what, name in _asked(parameters) if name not in here}
    if not asked:
        return {}
    # Some texts, such as those with a NUL, are none that a database can be asked for.
    names = [name for name in asked if _NAME.fullmatch(name)]
    query = (
        select(Model)
        .where(or_(Model.name.in_(names), Model.sha256.in_(names)))
        .with_for_update(read=True)
    )
    found = (await session.scalars(query)).all()
    by_name = {model.name: model.sha256 for model in found}
    by_hash = {model.sha256: model.sha256 for model in found}
    known = {**by_hash, **by_name}
    for name, what in asked.items():
        if name not in known:
            uploaded = await session.scalars(select(Model.name).order_by(Model.name))
            raise unknown_name(what, name, [*here, *uploaded])
    return {name: known[name] for name in asked}


def _asked(parameters: Parameters) -> Sequence[tuple[str, str]]:
    """Return what parameters name as a method or model: (what it is called, name)."""
    if parameters.__class__.__name__ == "AlignParameters":
        return []  # its method is none of a denoiser, and is checked already
    asked = []
    for field in ("method", "model", "methods"):
        value = getattr(parameters, field, None)
        names = [value] if isinstance(value, str) else (value or ())
        asked += [(field.removesuffix("s"), name) for name in names]
    return asked


def _looked_at_and_kept(state: State, file: Received, name: str) -> Model:
    with file.path.open("rb") as stream:
        if not _FIRST.match(stream.read(9)):
            raise ProblemError(422, "The body is no .safetensors file: give one, and no pickle.")
    # A process of its own, for it loads a network: those that decode uploads stay small.
    pool = ComputePool(
        1,
        memory_mb=state.settings.read_memory_mb,
        seconds=state.settings.read_seconds,
        scratch=state.scratch,
        raised_by=("read_memory_mb", "read_seconds"),
    )
    try:
        found = pool.run({"task": "inspect_model", "path": str(file.path), "name": name})
    except CrashError as error:
        raise ProblemError(422, f"{name} crashed its reader: it is broken.") from error
    finally:
        pool.close()
    state.store.put(file.sha256, file.path, move=True)
    return Model(name=name, sha256=file.sha256, bytes=file.bytes, header=found["header"])
