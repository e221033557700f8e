"""From what a client asks for to a job: every value is checked before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hdsmlm.bundle import load_bundle
from hdsmlm.bundle.reading import shipped_models
from hdsmlm.config.base import Section, parse_section, set_field
from hdsmlm.config.localize import LocalizeConfig
from hdsmlm.config.microscope import MicroscopeConfig, preset_names
from hdsmlm.config.prediction import EngineName, Precision
from hdsmlm.config.titration import TitrationConfig
from hdsmlm.errors import ConfigError, HdsmlmError
from hdsmlm.service.folders import is_identifier, path_within
from hdsmlm.service.problems import Refusal
from hdsmlm.service.schemas import NewJob
from hdsmlm.service.state import Service
from hdsmlm.service.store import DONE, Job, new_identifier

_MOST_SETTINGS = 64
_MOST_YAML = 262_144


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Network(_Options):
    engine: EngineName | None = None
    precision: Precision | None = None
    first_frame: int | None = Field(None, ge=0, le=2**40)
    last_frame: int | None = Field(None, ge=1, le=2**40)
    threshold: float | None = Field(None, gt=0, le=1)
    allow_truncated: bool = False


class _PlainLoader(yaml.SafeLoader):
    """Reads plain values only: aliases let a short text stand for an endless one."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not taken; write the values out")
        return super().compose_node(parent, index)


class LocalizeOptions(_Network):
    """Options of ``localize``."""

    fit: Literal["joint", "frame"] = "joint"
    sigma_px: float | None = Field(None, ge=0.3, le=10)
    set: dict[str, Any] = Field(default_factory=dict, max_length=_MOST_SETTINGS)


class PredictOptions(_Network):
    """Options of ``predict``."""

    count_map: Literal["tif", "none"] = "tif"
    overlays: int = Field(6, ge=0, le=100)
    normalization_window: Annotated[int, Field(ge=10)] | Literal["auto", "whole"] = "auto"


class DoctorOptions(_Options):
    """Options of ``doctor``."""

    kind: Literal["auto", "emccd", "scmos", "ideal"] = "auto"
    allow_truncated: bool = False


class TitrateOptions(_Options):
    """Options of ``titrate``."""

    factors: list[int] = Field(default=[1, 2, 5, 10, 20], min_length=1, max_length=20)
    reliable_f1: float = Field(0.85, gt=0, lt=1)
    lag: int | None = Field(None, ge=1)
    augment: bool = False
    sigma_px: float | None = Field(None, ge=0.3, le=10)
    engine: EngineName | None = None
    precision: Precision | None = None
    allow_truncated: bool = False
    set: dict[str, Any] = Field(default_factory=dict, max_length=_MOST_SETTINGS)


class EvaluateOptions(_Options):
    """Options of ``evaluate``: whose table is scored."""

    job_id: str | None = None
    table_id: str | None = None
    height: int | None = Field(None, ge=1, le=100_000)
    width: int | None = Field(None, ge=1, le=100_000)


class LiveOptions(_Options):
    """Options of ``live``."""

    block_frames: int = Field(32, ge=8, le=1024)
    idle_s: float = Field(60.0, ge=1, le=86_400)
    sigma_px: float | None = Field(None, ge=0.3, le=10)
    engine: EngineName | None = None
    precision: Precision | None = None
    threshold: float | None = Field(None, gt=0, le=1)


_OPTIONS: dict[str, type[_Options]] = {
    "localize": LocalizeOptions,
    "predict": PredictOptions,
    "doctor": DoctorOptions,
    "titrate": TitrateOptions,
    "evaluate": EvaluateOptions,
    "live": LiveOptions,
}


def checked_job(service: Service, new: NewJob) -> Job:
    """Return the job that a client asks for.

    Raises
    ------
    Refusal
        When a value is impossible, not there, or not allowed.
    """
    options = _options(new)
    _require_sources(service, new, options)
    camera = _camera(service, new.camera)
    _require_pixel_size(service, new, camera)
    return Job(
        job_id=new_identifier(),
        kind=new.kind,
        movie_id=new.movie_id,
        truth_id=new.truth_id,
        path=_live_path(service, new),
        model=_model(service, new.model),
        camera=camera,
        pixel_size_nm=new.pixel_size_nm,
        options=options,
    )


def _options(new: NewJob) -> dict[str, Any]:
    try:
        options = _OPTIONS[new.kind].model_validate(new.options)
    except ValidationError as error:
        lines = [
            f"options.{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            for problem in error.errors()
        ]
        raise Refusal(422, "; ".join(lines)) from None
    if isinstance(options, LocalizeOptions):
        _check_settings(LocalizeConfig, {}, options.set)
    if isinstance(options, TitrateOptions):
        values = TitrationConfig().model_dump() | {"factors": options.factors}
        _check_settings(TitrationConfig, values, options.set)
    return options.model_dump(mode="json", exclude_defaults=True)


def _check_settings(cls: type[Section], values: dict[str, Any], settings: dict[str, Any]) -> None:
    for key, value in settings.items():
        if key.rpartition(".")[2] == "threads":
            raise Refusal(422, f"options.set: {key} is the server's business; leave it out")
        try:
            set_field(values, key, value)
        except HdsmlmError as error:
            raise Refusal(422, f"options.set: {error}") from None
    try:
        parse_section(cls, values, "options.set")
    except ConfigError as error:
        raise Refusal(422, str(error)) from None


def _require_sources(service: Service, new: NewJob, options: dict[str, Any]) -> None:
    if new.kind == "live":
        if new.path is None:
            raise Refusal(422, "path: a live job follows a folder or a growing TIFF; give its path")
        return
    if new.path is not None:
        raise Refusal(422, "path: only a live job takes a path; add the movie by POST /movies")
    if new.kind == "evaluate":
        _require_tables(service, new, options)
    elif new.movie_id is None:
        raise Refusal(422, "movie_id: upload a movie first and give its number")
    if new.movie_id is not None:
        service.movie(new.movie_id)


def _require_tables(service: Service, new: NewJob, options: dict[str, Any]) -> None:
    if new.truth_id is None:
        raise Refusal(422, "truth_id: upload the table of true emitters (role table) first")
    service.table(new.truth_id)
    job_id, table_id = options.get("job_id"), options.get("table_id")
    if (job_id is None) == (table_id is None):
        raise Refusal(
            422, "options: give job_id (a finished localize or predict job) or table_id, not both"
        )
    if table_id is not None:
        service.table(table_id)
    if job_id is not None:
        source = service.job(job_id)
        if source.state != DONE or source.kind not in ("localize", "predict", "live"):
            raise Refusal(409, "options.job_id: that job has no table (yet)")


def _require_pixel_size(service: Service, new: NewJob, camera: Any) -> None:
    """Refuse at once what would fail later: lengths need the size of a pixel."""
    if new.kind not in ("localize", "predict", "titrate") or new.movie_id is None:
        return
    of_camera = camera.get("pixel_size_nm") if isinstance(camera, dict) else None
    if not (new.pixel_size_nm or of_camera or service.movie(new.movie_id).pixel_size_nm):
        raise Refusal(
            422,
            "pixel_size_nm: the movie does not say how wide its pixels are in the sample; type it "
            "in nm (camera pixel divided by magnification, often about 100)",
        )


def _live_path(service: Service, new: NewJob) -> str | None:
    return None if new.path is None else str(_allowed(service, new.path, "path"))


def _allowed(service: Service, text: str, where: str) -> Path:
    path = path_within(text, service.config.allow)
    if path is None:
        raise Refusal(
            403,
            f"{where}: no such file or folder inside the allowed folders; the person who runs the "
            "server allows folders with --allow",
        )
    return path


def _model(service: Service, model: str) -> str:
    """Return a shipped model's name, or the folder of a bundle in an allowed folder."""
    shipped = shipped_models()
    if model in shipped:
        return model
    if "/" not in model and "\\" not in model:
        raise Refusal(422, f"model: there is no model '{model}'; there are {', '.join(shipped)}")
    folder = _allowed(service, model, "model")
    try:
        load_bundle(folder)
    except HdsmlmError as error:
        raise Refusal(422, f"model: {error}") from None
    return str(folder)


def _camera(service: Service, camera: str | dict[str, Any] | None) -> Any:
    if camera is None or camera == "auto":
        return "auto"
    if isinstance(camera, dict):
        if set(camera) == {"yaml"}:
            camera = _parsed(camera["yaml"])
        return _microscope(service, camera).model_dump(mode="json")
    kind, colon, job_id = camera.partition(":")
    if colon and kind == "doctor":
        if not is_identifier(job_id):
            raise Refusal(404, "camera: there is no such doctor job")
        return _of_doctor(service.job(job_id))
    if camera not in preset_names():
        raise Refusal(
            422,
            f"camera: there is no preset of that name; there are auto, {', '.join(preset_names())}",
        )
    return camera


def _parsed(text: Any) -> dict[str, Any]:
    """Return the content of a camera.yaml that came as text."""
    try:
        readable = isinstance(text, str) and len(text) < _MOST_YAML
        values = yaml.load(text, Loader=_PlainLoader) if readable else None
    except (yaml.YAMLError, RecursionError, ValueError) as error:  # e.g. a date that is none
        raise Refusal(422, f"camera: this is no YAML: {error}") from None
    if not isinstance(values, dict):
        raise Refusal(
            422, "camera: this is no camera.yaml; give the file that `hdsmlm doctor` wrote"
        )
    return values


def _of_doctor(job: Job) -> Any:
    found = (job.summary or {}).get("camera")
    if job.kind != "doctor" or found is None:
        raise Refusal(409, "camera: that job has not (yet) found a camera")
    return found


def _microscope(service: Service, values: dict[str, Any]) -> MicroscopeConfig:
    try:
        microscope = parse_section(MicroscopeConfig, values, "camera")
    except ConfigError as error:
        raise Refusal(422, str(error)) from None
    for section in (microscope.camera, microscope.psf):
        for name, value in section.model_dump().items() if section is not None else ():
            if isinstance(value, Path):
                _allowed(service, str(value), f"camera.{name}")
    return microscope
