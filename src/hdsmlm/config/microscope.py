"""The microscope as the fit sees it: camera, point-spread function and pixel size in one file.

``hdsmlm doctor`` writes such a file (``camera.yaml``) and ``hdsmlm localize --camera`` reads it.
A few widespread cameras ship as presets, without a point-spread function: that is a property of
the objective and the sample, not of the camera.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from hdsmlm.config.base import Section, load_section, nearest, parse_section, read_yaml
from hdsmlm.config.camera import CameraConfig, ScmosConfig
from hdsmlm.config.psf import PsfConfig
from hdsmlm.errors import ConfigError

PRESET_FOLDER = Path(__file__).parent / "presets"
_MAP_FIELDS = ("gain_map", "variance_map", "offset_map")


class MicroscopeConfig(Section):
    """Camera, point-spread function and pixel size."""

    camera: CameraConfig
    """The camera; ``kind`` chooses."""
    psf: PsfConfig | None = None
    """The point-spread function; left out where it is not known (presets), then estimated from the
    movie."""
    pixel_size_nm: float | None = Field(None, gt=5, le=1000)
    """Side of a pixel in the sample; left out: from the movie's metadata or the command line."""
    saturation_adu: float | None = Field(None, gt=0)
    """Grey value from which a pixel is saturated (4095 of 12 bits), so that rows beside it are
    flagged; left out: 65535 in 16-bit movies."""
    notes: tuple[str, ...] = ()
    """Where the numbers come from, for a person."""


def preset_names() -> list[str]:
    """Return the names of the shipped cameras, in alphabetical order."""
    return sorted(path.stem for path in PRESET_FOLDER.glob("*.yaml"))


def load_microscope(source: Path | str) -> MicroscopeConfig:
    """Read a microscope from a YAML file or from a shipped preset.

    Parameters
    ----------
    source : path or str
        A file; or the name of a preset (:func:`preset_names`) where no file of that name exists.

    Returns
    -------
    MicroscopeConfig
        Paths of sCMOS maps are resolved against the folder of the file.

    Raises
    ------
    ConfigError
        When there is neither such a file nor such a preset, or a value is impossible.

    Examples
    --------
    >>> load_microscope("ideal").camera.kind
    'ideal'
    """
    path = Path(source).expanduser()
    if path.is_file():
        return _with_resolved_maps(path)
    name = str(source)
    if name in preset_names():
        return load_section(MicroscopeConfig, PRESET_FOLDER / f"{name}.yaml")
    best = nearest(name, preset_names())
    hint = f"did you mean '{best}'? " if best else ""
    raise ConfigError(
        f"camera '{name}': no such file and no such preset; {hint}give the path of a camera.yaml "
        f"(hdsmlm doctor writes one) or one of the presets {', '.join(preset_names())}"
    )


def _with_resolved_maps(path: Path) -> MicroscopeConfig:
    """Read ``path``; make its map paths absolute, so that they hold from any working folder."""
    microscope = parse_section(MicroscopeConfig, read_yaml(path), str(path))
    if not isinstance(microscope.camera, ScmosConfig):
        return microscope
    folder = path.resolve().parent
    found = {}
    for name in _MAP_FIELDS:
        given = getattr(microscope.camera, name)
        if given is None:
            continue
        found[name] = given if given.is_absolute() else folder / given
        if not found[name].is_file():
            raise ConfigError(
                f"{path}: camera.{name} names {given}, but there is no file {found[name]}; paths "
                "of maps are relative to the YAML file"
            )
    return microscope.model_copy(update={"camera": microscope.camera.model_copy(update=found)})
