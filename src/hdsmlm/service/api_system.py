"""Health, device, models and cameras."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import yaml
from fastapi import APIRouter, Request

import hdsmlm
from hdsmlm.bundle import load_bundle
from hdsmlm.bundle.reading import shipped_models
from hdsmlm.compute.inventory import this_machine
from hdsmlm.config.microscope import PRESET_FOLDER, load_microscope, preset_names
from hdsmlm.service.schemas import CameraOut, HealthOut, ModelOut, QueueOut, WorkerOut
from hdsmlm.service.state import WORKER_SILENT_S, Service
from hdsmlm.service.store import RUNNING, WAITING

router = APIRouter(tags=["system"])


@router.get("/health")
def health(request: Request) -> HealthOut:
    """Say whether the service works."""
    service: Service = request.app.state.service
    beat = service.store.heartbeat()
    alive = beat is not None and beat[1] < WORKER_SILENT_S
    return HealthOut(
        status="ok" if alive else "degraded",
        version=hdsmlm.__version__,
        worker=WorkerOut(alive=alive, heartbeat_age_s=None if beat is None else round(beat[1], 2)),
        queue=QueueOut(
            waiting=service.store.count_jobs(WAITING), running=service.store.count_jobs(RUNNING)
        ),
    )


@router.get("/device")
def device() -> dict[str, Any]:
    """Show processor and GPUs."""
    machine = this_machine()
    shown: dict[str, Any] = {"cpu": {}, "gpus": [], "notes": list(machine.notes)}
    for one in machine.read(()):
        facts = {
            "name": one.title,
            "memory_bytes": one.total_bytes,
            "used_bytes": one.used_bytes,
            "utilization": round(one.utilization, 3),
        }
        if one.name == "cpu":
            shown["cpu"] = {"cores": one.slots, **facts}
        else:
            shown["gpus"].append(facts)
    return shown


@router.get("/models")
def models() -> list[ModelOut]:
    """List the models that ship with the program."""
    return _models()


@cache
def _models() -> list[ModelOut]:
    found = []
    for name in sorted(shipped_models()):
        bundle = load_bundle(name)
        manifest = bundle.manifest
        found.append(
            ModelOut(
                name=name,
                summary=manifest.description,
                density_range=manifest.trained_range.density_per_um2,
                pixel_range_nm=manifest.trained_range.pixel_size_nm,
                scores=manifest.scores,
                card=bundle.model_card,
            )
        )
    return found


@router.get("/cameras")
def cameras() -> list[CameraOut]:
    """List the cameras that ship with the program; auto estimates one from the movie."""
    return [CameraOut(name="auto", summary="estimated from the movie"), *_cameras()]


@cache
def _cameras() -> list[CameraOut]:
    return [CameraOut(name=name, summary=_summary(name)) for name in preset_names()]


def _summary(name: str) -> str:
    microscope = load_microscope(name)
    if microscope.notes:
        return " ".join(microscope.notes)
    text = (PRESET_FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    comment = " ".join(re.findall(r"^# ?(.*)$", text, re.MULTILINE)).strip()
    return comment or yaml.safe_dump(microscope.camera.model_dump(mode="json")).strip()
