"""The settings of the service: one model, from environment, file and command line."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from everhart.errors import UsageError

__all__ = ["PREFIX", "Settings", "WatchedFolder", "is_loopback", "load_settings", "settings_table"]

PREFIX = "EVERHART_SERVICE_"
"""What the names of the environment variables begin with."""


class WatchedFolder(BaseModel):
    """A hot folder: each image that comes into it is uploaded, and a job is made of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path
    operation: str = "denoise"
    parameters: dict[str, Any] = {}
    pixel_size_nm: Annotated[float | None, Field(gt=0, allow_inf_nan=False)] = None
    settle_s: Annotated[float, Field(ge=0.1)] = 1.0
    patience_s: Annotated[float, Field(ge=0.1)] = 30.0

    @field_validator("folder")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()


class Settings(BaseSettings):
    """Settings of the service.

    Each can be given in the environment (``EVERHART_SERVICE_PORT=9000``), or in a TOML file
    (``port = 9000``); the environment is stronger.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    folder: Annotated[
        Path,
        Field(description="Folder of the database and of the objects, where these are local."),
    ] = Path("~/.everhart")
    host: Annotated[
        str,
        Field(description="Address to listen on; other than loopback only with tokens."),
    ] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="Port; 0 takes a free one.")] = 8765
    hosts: Annotated[
        tuple[str, ...],
        Field(description="Host names under which clients may call it; * for all."),
    ] = ()
    database: Annotated[
        SecretStr | None,
        Field(description="postgresql://USER:PASSWORD@HOST/NAME; SQLite in the folder if none."),
    ] = None
    store: Annotated[
        str | None,
        Field(description="s3://BUCKET/PREFIX for objects; the folder if none."),
    ] = None
    s3_endpoint: Annotated[
        str | None,
        Field(description="URL of an S3 store other than AWS. The keys are in AWS_* variables."),
    ] = None
    tokens: Annotated[
        bool,
        Field(description="Ask for tokens on loopback too. Elsewhere they are always asked for."),
    ] = False
    max_upload_mb: Annotated[
        float, Field(gt=0, description="Largest file that can be uploaded, in MB.")
    ] = 2048
    max_pixels: Annotated[int, Field(gt=0, description="Most pixels of one image plane.")] = (
        500_000_000
    )
    max_decoded_mb: Annotated[
        float, Field(gt=0, description="Most MB that a file may decode to.")
    ] = 4096
    max_frames: Annotated[int, Field(gt=0, description="Most frames of a stack.")] = 65_536
    max_ratio: Annotated[
        float, Field(gt=0, description="Most decoded bytes for each byte of a file above 64 MB.")
    ] = 250
    max_model_mb: Annotated[
        float, Field(gt=0, description="Largest model that can be uploaded, in MB.")
    ] = 1024
    read_memory_mb: Annotated[
        float, Field(gt=0, description="Memory in MB of a process that decodes uploads.")
    ] = 8192
    read_seconds: Annotated[
        float, Field(gt=0, description="Time in s to decode an upload or draw a preview.")
    ] = 60
    readers: Annotated[int, Field(ge=1, le=64, description="Processes that decode uploads.")] = 2
    tile_cache_mb: Annotated[
        float, Field(gt=0, description="Disk in MB for the decoded images that tiles are cut from.")
    ] = 4096
    job_memory_mb: Annotated[
        float, Field(gt=0, description="Memory in MB of a process that runs an operation.")
    ] = 16384
    job_seconds: Annotated[
        float, Field(gt=0, description="Time in s for an operation on one image.")
    ] = 3600
    workers: Annotated[
        int,
        Field(ge=0, le=256, description="Processes that run operations; 0 leaves it to workers."),
    ] = 1
    cluster: Annotated[
        str | None,
        Field(description="tcp://HOST:8786 of a Dask scheduler, over whose workers jobs spread."),
    ] = None
    watch: Annotated[
        tuple[WatchedFolder, ...],
        Field(description="Hot folders of the server, each a table [[watch]]."),
    ] = ()
    max_images_per_job: Annotated[int, Field(ge=1, description="Most images of one job.")] = 10_000
    wrong_tokens_per_minute: Annotated[
        int, Field(ge=1, description="Wrong tokens of one address before it is answered 429.")
    ] = 10

    @field_validator("folder")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("database")
    @classmethod
    def _known_database(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(
            ("postgresql://", "postgresql+psycopg://")
        ):
            raise ValueError("Give a URL that begins with postgresql://, or nothing for SQLite")
        return value

    @field_validator("cluster")
    @classmethod
    def _known_cluster(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("tcp://", "tls://")):
            raise ValueError("Give an address that begins with tcp:// or tls://")
        return value

    @field_validator("store")
    @classmethod
    def _known_store(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("s3://"):
            raise ValueError("Give a URL that begins with s3://, or nothing for the folder")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not read: a stray .env
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line before environment before secret files before the TOML file."""
        return (
            init_settings,
            env_settings,
            file_secret_settings,
            TomlConfigSettingsSource(settings_cls),
        )

    @property
    def needs_tokens(self) -> bool:
        """Whether a request must bring a token."""
        return self.tokens or not is_loopback(self.host)

    @property
    def database_url(self) -> str:
        """URL for SQLAlchemy, without the driver for async."""
        if self.database is None:
            return f"sqlite:///{self.folder / 'everhart.db'}"
        url = self.database.get_secret_value()
        return url.replace("postgresql://", "postgresql+psycopg://", 1)


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load_settings(file: Path | None = None, **given: Any) -> Settings:
    """Read the settings.

    Parameters
    ----------
    file
        A TOML file of settings, or None.
    **given
        Settings that are stronger than environment and file; None where nothing was said.

    Returns
    -------
    Settings
        The checked settings.

    Raises
    ------
    UsageError
        If the file cannot be read, or a setting is unknown or not allowed.
    """
    import tomllib

    if file is not None and not file.is_file():
        raise UsageError(
            f"The settings {file} were given: there is no such file; give a TOML file."
        )

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    said = {name: value for name, value in given.items() if value is not None}
    try:
        return FromFile(**said) if file is not None else Settings(**said)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"The settings {file} are not TOML ({error}): correct the file."
        ) from error
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(str(part) for part in fault["loc"])
        raise UsageError(
            f"The setting {name} cannot be used: {fault['msg'].removeprefix('Value error, ')}; "
            f"known are {', '.join(Settings.model_fields)}."
        ) from error


def settings_table() -> str:
    """Return all settings as a Markdown table, as it is in ``docs/how-to/serve.md``."""
    rows = ["| setting | default | meaning |", "| --- | --- | --- |"]
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, Path):
            default = default.as_posix()
        shown = "" if default in (None, ()) else f"`{str(default).lower()}`"
        rows.append(f"| `{name}` | {shown} | {field.description} |")
    return "\n".join(rows) + "\n"
