"""The application: routes behind the gate, the web page, one shape for errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

import hdsmlm
from hdsmlm.config.service import ServiceConfig
from hdsmlm.service import api_folders, api_jobs, api_movies, api_results, api_system
from hdsmlm.service.folders import Folders
from hdsmlm.service.problems import RESPONSES, explain_errors
from hdsmlm.service.queueing import LIVE, open_lane
from hdsmlm.service.security import Gate
from hdsmlm.service.state import Service
from hdsmlm.service.store import Store

PREFIX = "/api/v1"
WEB_FOLDER = Path(__file__).parent / "web"


def create_app(config: ServiceConfig, folders: Folders) -> FastAPI:
    """Build the application of a data folder.

    Parameters
    ----------
    config : ServiceConfig
        What it allows.
    folders : Folders
        The data folder, which exists.
    """
    app = FastAPI(
        title="hdsmlm",
        version=hdsmlm.__version__,
        description="Detect, count and localize emitters in dense microscopy movies.",
        docs_url=None,  # it would load scripts from another site
        redoc_url=None,
        openapi_url="/openapi.json",
        responses=RESPONSES,
    )
    lanes = {name: open_lane(config, folders, name) for name in ("jobs", LIVE)}
    app.state.service = Service(config, folders, Store(folders.store), lanes)
    for module in (api_system, api_folders, api_movies, api_jobs, api_results):
        app.include_router(module.router, prefix=PREFIX)

    @app.get(f"{PREFIX}/openapi.json", include_in_schema=False)
    def _openapi() -> dict[str, Any]:
        return app.openapi()

    if WEB_FOLDER.is_dir():
        app.mount("/web", StaticFiles(directory=WEB_FOLDER), name="web")

        @app.get("/", include_in_schema=False)
        def _page() -> FileResponse:
            return FileResponse(WEB_FOLDER / "index.html")

    explain_errors(app)
    app.add_middleware(Gate, config=config)
    return app
