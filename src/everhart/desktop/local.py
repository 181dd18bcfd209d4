"""Operations on this machine, in a child process that can be killed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from everhart.desktop.backend import OperationInfo, Outcome, Request
from everhart.errors import EverhartError
from everhart.io import DEFAULT_LIMITS
from everhart.operations import OPERATIONS, get_operation
from everhart.service.compute import CancelledError, ComputePool
from everhart.service.run_operation import SERIES

__all__ = ["LocalBackend"]

_MEMORY_MB = 64_000.0
_SECONDS = 24 * 3600.0


class LocalBackend:
    """Runs operations on this machine.

    The child is that of the service, so both give the same files. It stays, and keeps the model
    of the last operation loaded.

    Parameters
    ----------
    scratch
        Folder of temporary files.
    """

    title = "this computer"

    def __init__(self, scratch: Path) -> None:
        self._pool = ComputePool(1, memory_mb=_MEMORY_MB, seconds=_SECONDS, scratch=scratch)

    def operations(self) -> list[OperationInfo]:
        """Return what can be run; see :data:`everhart.operations.OPERATIONS`."""
        return [
            OperationInfo(
                operation.name,
                operation.summary,
                operation.roles,
                operation.name in SERIES,
                operation.parameters.model_json_schema(),
            )
            for operation in OPERATIONS.values()
        ]

    def run(
        self,
        request: Request,
        folder: Path,
        on_outcome: Callable[[Outcome], None],
        on_word: Callable[[str], None],
        is_cancelled: Callable[[], bool],
    ) -> None:
        """Run an operation; see :class:`everhart.desktop.backend.Backend`."""
        # A wrong parameter is said at once, without a child.
        get_operation(request.operation).check(request.parameters)
        series = request.operation in SERIES
        pieces = [request.images] if series else [(image,) for image in request.images]
        for number, images in enumerate(pieces):
            if is_cancelled():
                raise CancelledError("It was cancelled.")
            on_word(images[0].name if len(images) == 1 else f"{len(images)} images")
            own = folder / f"{number:04d}"
            own.mkdir(parents=True)
            try:
                answer = self._pool.run(
                    {
                        "task": "run",
                        "operation": request.operation,
                        "parameters": dict(request.parameters),
                        "images": [(str(image), image.name) for image in images],
                        "roles": {r: (str(path), path.name) for r, path in request.roles.items()},
                        "pixel_size_nm": request.pixel_size_nm,
                        "limits": asdict(DEFAULT_LIMITS),
                        "folder": str(own),
                    },
                    is_cancelled,
                )
            except CancelledError:
                raise
            except EverhartError as error:
                on_outcome(Outcome(images, own, error=" ".join(str(error).split())))
                continue
            on_outcome(
                Outcome(
                    images,
                    own,
                    tuple(answer["files"]),
                    answer["summary"],
                    answer["model_hash"],
                    answer["version"],
                    tuple(answer["warnings"]),
                )
            )

    def close(self) -> None:
        """Kill the child."""
        self._pool.close()
