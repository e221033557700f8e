"""Find, check and open a model bundle. Nothing in a bundle is executed: no pickle, no code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import hdsmlm
from hdsmlm.bundle.manifest import (
    CARD_FILE,
    MANIFEST_FILE,
    ONNX_FILE,
    SCHEMA_VERSION,
    WEIGHTS_FILE,
    BundleManifest,
)
from hdsmlm.config.base import nearest, parse_section, read_yaml
from hdsmlm.errors import BundleError, ConfigError
from hdsmlm.records.provenance import file_sha256


@dataclass(frozen=True)
class Bundle:
    """A checked model folder.

    Parameters
    ----------
    folder : Path
        Where it lies.
    manifest : BundleManifest
        Its description.
    sha256 : str
        Hash of ``bundle.yaml``; since that holds the hash of every file, it names the content.
    """

    folder: Path
    manifest: BundleManifest
    sha256: str

    @property
    def onnx_path(self) -> Path:
        """Network as ONNX: input ``frames``, output ``probabilities``."""
        return self.folder / ONNX_FILE

    @property
    def weights_path(self) -> Path:
        """Keras weights of the same network."""
        return self.folder / WEIGHTS_FILE

    @property
    def model_card(self) -> str:
        """Text of the model card, or "" where there is none."""
        path = self.folder / CARD_FILE
        return path.read_text(encoding="utf-8") if path.is_file() else ""


def shipped_models() -> dict[str, Path]:
    """Return the models that come with the program: name to folder."""
    root = Path(hdsmlm.__file__).parent / "models"
    return {path.parent.name: path.parent for path in sorted(root.glob(f"*/{MANIFEST_FILE}"))}


def load_bundle(model: str | Path) -> Bundle:
    """Open a shipped model by name, or any bundle by the path of its folder.

    Every file is hashed and compared with the manifest.

    Raises
    ------
    BundleError
        Unknown name, missing file, wrong hash, manifest that cannot be read or is newer than this
        program.
    """
    folder = _find(model)
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise BundleError(
            f"{folder} is not a model bundle: it has no {MANIFEST_FILE}. "
            f"Give the folder that `hdsmlm train` wrote, or one of: {_names()}"
        )
    manifest = _read_manifest(path)
    if ONNX_FILE not in manifest.files:
        raise BundleError(f"{path} lists no {ONNX_FILE}; the bundle is incomplete, export it again")
    for name, expected in manifest.files.items():
        _check_file(folder, name, expected)
    return Bundle(folder=folder, manifest=manifest, sha256=file_sha256(path))


def _find(model: str | Path) -> Path:
    shipped = shipped_models()
    if str(model) in shipped:
        return shipped[str(model)]
    path = Path(model)
    if path.is_dir():
        return path
    if path.is_file() and path.name == MANIFEST_FILE:
        return path.parent
    if path.exists():
        raise BundleError(f"{path} is a file; a model bundle is a folder with {MANIFEST_FILE}")
    best = nearest(str(model), list(shipped))
    hint = f"did you mean '{best}'? " if best else ""
    raise BundleError(
        f"no model '{model}': it is neither the name of a shipped model nor a folder; {hint}"
        f"shipped models: {_names()}"
    )


def _names() -> str:
    return ", ".join(shipped_models()) or "none"


def _read_manifest(path: Path) -> BundleManifest:
    try:
        values = read_yaml(path)
        version = values.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise BundleError(
                f"{path}: written for schema version {version}, but hdsmlm {hdsmlm.__version__} "
                f"reads up to {SCHEMA_VERSION}; update hdsmlm with: pip install -U hdsmlm"
            )
        return parse_section(BundleManifest, values, str(path))
    except ConfigError as error:
        raise BundleError(
            f"the model bundle's description is corrupt: {error}. Fetch or export the bundle again"
        ) from None


def _check_file(folder: Path, name: str, expected: str) -> None:
    path = folder / name
    if Path(name).name != name:
        raise BundleError(f"{folder / MANIFEST_FILE}: '{name}' lies outside the bundle's folder")
    if not path.is_file():
        raise BundleError(
            f"{folder}: the model bundle misses {name}; fetch or export the bundle again"
        )
    try:
        actual = file_sha256(path)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from None
    if actual != expected:
        raise BundleError(
            f"{path} is corrupt or was changed: its SHA-256 is {actual[:12]}..., the manifest says "
            f"{expected[:12]}...; fetch or export the bundle again"
        )
