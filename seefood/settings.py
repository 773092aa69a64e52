"""Every environment variable that SeeFood102 reads, with its type, default and meaning."""

import sys
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, NonNegativeInt, PositiveInt, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from seefood.errors import SettingsError


class Settings(BaseSettings):
    """The settings of one process, read from the environment once (see `settings()`).

    A field is set by `SEEFOOD_<FIELD>`, for example `SEEFOOD_MAX_PIXELS=20000000`; the four that the field's platforms
    already have a name for are set by that name.
    """

    model_config = SettingsConfigDict(env_prefix="SEEFOOD_", env_ignore_empty=True, populate_by_name=True)

    model: Path = Field(Path("models/seefood.onnx"), description="the model file that is served")
    max_bytes: PositiveInt = Field(20_000_000, description="largest photo accepted, in bytes")
    max_pixels: PositiveInt = Field(50_000_000, description="largest photo accepted, in pixels after decoding")
    threads: NonNegativeInt = Field(0, description="threads of ONNX Runtime; 0 for the CPUs granted")
    concurrency: PositiveInt = Field(
        2, description="photos classified at the same time, by page, API and /classify together"
    )
    queue_length: PositiveInt = Field(
        64, description="requests to page and API, and as many to /classify, that wait before new ones are turned away"
    )
    rate_limit: NonNegativeInt = Field(1200, description="requests a minute from one address; 0 for no limit")
    upload_hours: PositiveInt = Field(1, description="hours an uploaded photo stays in the temporary folder")
    feedback: str = Field(
        "", description="where answers to 'Is this right?' are kept: a folder or s3://bucket/prefix; empty asks nobody"
    )

    log: Literal["json", "text", "none"] = Field(
        default_factory=lambda: "text" if sys.stdout.isatty() else "json",
        description="a line for each request: json, text for people, or none; text on a terminal, json elsewhere",
    )
    metrics_namespace: str = Field(
        "", description="where CloudWatch keeps the metrics that it reads from the log; empty writes none into it"
    )
    service: str = Field("seefood102", min_length=1, description="the dimension by which CloudWatch tells stacks apart")
    commit: str = Field("unknown", description="version of this repository; the image knows its own")

    mcp: bool = Field(
        find_spec("mcp") is not None, description="offer the API as tools for agents, too; needs the extra [mcp]"
    )

    host: str = Field(
        "127.0.0.1",
        validation_alias=AliasChoices("GRADIO_SERVER_NAME"),
        description="address to listen on; 0.0.0.0 lets other machines in, as a container must",
    )
    port: int = Field(
        7860, gt=0, lt=65536, validation_alias=AliasChoices("GRADIO_SERVER_PORT", "PORT"), description="port"
    )
    root_path: str = Field("", validation_alias=AliasChoices("GRADIO_ROOT_PATH"), description="path behind a proxy")
    forwarded_allow_ips: str = Field(
        "127.0.0.1",
        validation_alias=AliasChoices("FORWARDED_ALLOW_IPS"),
        description="proxies whose X-Forwarded-* headers are believed; * for all, behind a load balancer",
    )


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The settings of this process.

    Raises:
        SettingsError: an environment variable has a value that it cannot have.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        variable = f"SEEFOOD_{name.upper()}" if name in Settings.model_fields else name
        raise SettingsError(f"{variable}={first['input']}: {first['msg']}. Change the environment variable.") from None
