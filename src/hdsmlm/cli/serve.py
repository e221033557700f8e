"""``hdsmlm serve``: the REST interface and the web page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    host: Annotated[
        str, typer.Option(help="Address to listen at; others than loopback need a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8765,
    data: Annotated[Path, typer.Option(help="Folder of uploads, jobs and results.")] = Path(
        "~/.hdsmlm/service"
    ),
    allow: Annotated[
        list[Path] | None,
        typer.Option(help="Folder from which movies and models may be taken. May be repeated."),
    ] = None,
    host_name: Annotated[
        list[str] | None,
        typer.Option("--host-name", help="Further name of this server. May be repeated."),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="HDSMLM_TOKEN",
            help="Secret that requests must bring; made and printed where one is needed.",
        ),
    ] = None,
    queue: Annotated[
        str, typer.Option(help="sqlite, or the address of a Redis server (redis://...).")
    ] = "sqlite",
    parallel_jobs: Annotated[int, typer.Option(help="Jobs that run at a time.")] = 1,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a field, e.g. --set limits.upload_bytes=1000000000."),
    ] = None,
) -> None:
    """Serve the web page and the REST interface on this machine.

    Jobs survive a restart: what was waiting or running goes on.
    """
    from hdsmlm.config.base import parse_assignments, parse_section, set_field
    from hdsmlm.config.service import ServiceConfig
    from hdsmlm.errors import require_extra

    for library in ("fastapi", "uvicorn", "huey"):
        require_extra(library, "service", "to serve")
    values: dict[str, Any] = {
        "host": host,
        "port": port,
        "data": data,
        "allow": allow or [],
        "hosts": host_name or [],
        "token": token,
        "queue": queue,
        "parallel_jobs": parallel_jobs,
    }
    for key, value in parse_assignments(set_ or []).items():
        set_field(values, key, value)
    config = parse_section(ServiceConfig, values, "command line")
    from hdsmlm.service.server import serve

    serve(config, typer.echo)
