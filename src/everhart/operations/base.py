"""What an operation is: a name, checked parameters, a function, a uniform outcome."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from everhart.errors import UsageError, unknown_name
from everhart.micrograph import Micrograph

if TYPE_CHECKING:  # nothing of the rooms is loaded before it is needed
    from everhart.measure.result import Measurement

__all__ = ["Operation", "Outcome", "Parameters", "Run"]


class Parameters(BaseModel):
    """Parameters of an operation: checked, named, described; nothing unknown is accepted."""

    model_config = ConfigDict(extra="forbid", frozen=True)


ParametersT = TypeVar("ParametersT", bound=Parameters)


@dataclass(frozen=True)
class Outcome:
    """What an operation gives back.

    Parameters
    ----------
    micrographs
        Resulting images, in the order of the inputs; empty for an operation that only measures;
        one for an operation on a series, such as ``align``.
    results
        One JSON-serialisable dict an input, or one for the series.
    documents
        Files to keep beside, such as a report, by name.
    measurements
        Tables and outlines, one an input, of an operation that measures; its `results` are their
        summaries.
    """

    micrographs: tuple[Micrograph, ...] = ()
    results: tuple[dict[str, Any], ...] = ()
    documents: Mapping[str, str] = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()


Run = Callable[[Sequence[Micrograph], Mapping[str, Micrograph]], Outcome]
"""An operation with its parameters, ready to be run on many images."""


@dataclass(frozen=True)
class Operation(Generic[ParametersT]):
    """Something that can be run on micrographs.

    Parameters
    ----------
    name
        Name on the command line and in the service.
    summary
        One sentence.
    parameters
        Pydantic model of the parameters, with a description of each.
    prepare
        ``prepare(parameters)`` does what is the same for all images, such as loading a model, and
        returns ``run(micrographs, roles) -> Outcome``; `roles` maps names to further micrographs.
    roles
        Names of further images that it can take, such as ``"reference"``.
    """

    name: str
    summary: str
    parameters: type[ParametersT]
    prepare: Callable[[ParametersT], Run]
    roles: tuple[str, ...] = ()

    def check(self, values: Mapping[str, Any]) -> ParametersT:
        """Make the parameters from plain values.

        Parameters
        ----------
        values
            Values by name; defaults are taken for the others.

        Returns
        -------
        BaseModel
            The checked parameters.

        Raises
        ------
        UsageError
            If a name is unknown or a value is not allowed; the first fault in one sentence.
        """
        try:
            return self.parameters.model_validate(dict(values))
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            if fault["type"] == "extra_forbidden":
                name = str(fault["loc"][-1])
                raise unknown_name(
                    f"parameter of {self.name}", name, self.parameters.model_fields
                ) from error
            where = ".".join(str(part) for part in fault["loc"]) or self.name
            said = fault["msg"].removeprefix("Value error, ")
            raise UsageError(f"{where}: {fault['input']!r} was given. {said}.") from error

    def __call__(
        self,
        micrographs: Micrograph | Sequence[Micrograph],
        *,
        roles: Mapping[str, Micrograph] | None = None,
        **values: Any,
    ) -> Outcome:
        """Check the values and run the operation on one micrograph or several."""
        several = [micrographs] if isinstance(micrographs, Micrograph) else list(micrographs)
        given = dict(roles or {})
        for role in given:
            if role not in self.roles:
                raise unknown_name(f"role of {self.name}", role, self.roles)
        return self.prepare(self.check(values))(several, given)
