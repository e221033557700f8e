"""``--server``: the same commands, done by a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from hdsmlm.service.client import Client

Server = Annotated[
    str | None,
    typer.Option(
        help="Have a server do it (`hdsmlm serve`), e.g. http://localhost:8765. A token is taken "
        "from HDSMLM_TOKEN."
    ),
]


_TABLES = (".csv", ".hdf5", ".h5", ".parquet")


@dataclass(frozen=True)
class Asked:
    """What the user asks a server for.

    Parameters
    ----------
    movie : str
        File of this machine.
    model, camera : str
        As on the command line.
    pixel_size_nm : float or None
        Side of a pixel in the sample.
    options : dict
        Options of the job; None is left out.
    overwrite : bool
        Replace results that are there.
    """

    movie: str
    model: str
    camera: str | None
    pixel_size_nm: float | None
    options: dict[str, Any]
    overwrite: bool


def localize(server: str, asked: Asked, out: Path, blinks: Path | None) -> None:
    """Have a server localize, and download the tables."""
    import tempfile

    from hdsmlm.errors import ConfigError
    from hdsmlm.pipelines.convert import Conversion, convert_table
    from hdsmlm.pipelines.localize_output import check_outputs

    if blinks is not None and asked.options.get("fit") == "frame":
        raise ConfigError("--blinks needs the joint fit: frames that are fitted alone have none")
    if out.suffix.lower() not in _TABLES:
        raise ConfigError(f"--out {out}: a server gives {', '.join(_TABLES)}; choose one of them")
    paths = {"out": out, "blinks": blinks}
    check_outputs({k: p for k, p in paths.items() if p is not None}, overwrite=asked.overwrite)
    client, job = _run(server, "localize", asked)
    client.download_table(job["job_id"], out)
    if blinks is not None:
        with tempfile.TemporaryDirectory() as folder:
            native = client.download(job["job_id"], "blinks.hdf5", Path(folder) / "blinks.hdf5")
            convert_table(Conversion(native, blinks, overwrite=True))
    summary = job["summary"]
    typer.echo(
        f"localizations      {summary['localizations']} in {summary['frames']} frames, "
        f"{summary['density_per_um2']:.3g} per um2 and frame"
    )
    for note in summary["notes"]:
        typer.echo(f"note: {note}")
    typer.echo(f"table              {out}")


def predict(server: str, asked: Asked, out: Path) -> None:
    """Have a server predict, and download the results into a folder."""
    from hdsmlm.errors import OutputError
    from hdsmlm.io.writing import output_folder

    output_folder(out)
    if (out / "summary.json").exists() and not asked.overwrite:
        raise OutputError(
            f"{out} already holds results; choose another output folder or replace them with "
            "--overwrite"
        )
    client, job = _run(server, "predict", asked)
    for result in client.results(job["job_id"]):
        name = Path(result["name"]).name
        folder = out / "overlays" if name.startswith("frame_") else out
        if name != "job.log":
            client.download(job["job_id"], name, folder / name)
    typer.echo((out / "summary.txt").read_text(encoding="utf-8") + f"results in          {out}")


def _run(server: str, kind: str, asked: Asked) -> tuple[Client, dict[str, Any]]:
    """Upload the movie, run the job, show its progress; return server and finished job."""
    import os

    from hdsmlm.cli.progress import progress_bar
    from hdsmlm.service.client import Client

    values = {
        "model": _shipped(asked.model),
        "camera": _camera(asked.camera),
        "pixel_size_nm": asked.pixel_size_nm,
        "options": {k: v for k, v in asked.options.items() if v is not None},
    }
    client = Client(server, os.environ.get("HDSMLM_TOKEN"))
    with progress_bar() as listener:
        movie_id = client.upload(asked.movie, listener)["movie_id"]
        job = client.start(kind, movie_id, **values)
        try:
            return client, client.follow(job["job_id"], listener)
        except KeyboardInterrupt:
            client.cancel(job["job_id"])
            raise


def _shipped(model: str) -> str:
    from hdsmlm.errors import ConfigError

    if Path(model).is_dir():
        raise ConfigError(
            f"--model {model} is a folder of this machine, which the server does not see; give the "
            "name of a shipped model"
        )
    return model


def _camera(camera: str | None) -> Any:
    """Return a camera as a server takes it: a preset's name, or what is in a file."""
    from hdsmlm.config.microscope import load_microscope
    from hdsmlm.errors import ConfigError

    if camera is None or not Path(camera).expanduser().is_file():
        return camera
    microscope = load_microscope(camera)
    for section in (microscope.camera, microscope.psf):
        for name, value in section.model_dump().items() if section is not None else ():
            if isinstance(value, Path):
                raise ConfigError(
                    f"{camera}: {name} is a file of this machine, which the server does not see; "
                    "run this without --server"
                )
    return microscope.model_dump(mode="json")


def require_unset(**options: Any) -> None:
    """Refuse options that only the local command has.

    Raises
    ------
    ConfigError
        Naming the first that was given.
    """
    from hdsmlm.errors import ConfigError

    for name, value in options.items():
        if value is not None:
            raise ConfigError(
                f"--{name.replace('_', '-')} does not go with --server; leave one of them out"
            )
