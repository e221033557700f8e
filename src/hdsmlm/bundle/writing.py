"""Write a model bundle: all files or none."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hdsmlm.bundle.manifest import (
    CARD_FILE,
    CONFIG_FILE,
    MANIFEST_FILE,
    ONNX_FILE,
    PROVENANCE_FILE,
    WEIGHTS_FILE,
    BundleManifest,
)
from hdsmlm.bundle.reading import Bundle, load_bundle
from hdsmlm.config.base import write_yaml
from hdsmlm.errors import OutputError
from hdsmlm.io.writing import atomic_path
from hdsmlm.records.provenance import Provenance, file_sha256


@dataclass(frozen=True)
class BundleContent:
    """What goes into a bundle beside the manifest.

    Parameters
    ----------
    onnx, weights : Path
        Files that are copied; weights may be None where only the ONNX graph is at hand.
    config_yaml : str
        The training configuration as text.
    provenance : Provenance
        Where the model comes from.
    model_card : str
        Markdown for a person: data, scores by condition, limits.
    """

    onnx: Path
    weights: Path | None
    config_yaml: str
    provenance: Provenance
    model_card: str


def write_bundle(
    folder: Path, manifest: BundleManifest, content: BundleContent, *, overwrite: bool = False
) -> Bundle:
    """Write a bundle and read it back.

    Parameters
    ----------
    folder : Path
        The bundle's folder; appears complete or not at all.
    manifest : BundleManifest
        Its ``files`` are filled in here.
    content : BundleContent
        The other files.
    overwrite : bool
        Replace a bundle that is there. A folder that is no bundle is never replaced.

    Raises
    ------
    OutputError
        When the folder is in the way or cannot be written.
    """
    if folder.exists():
        _refuse_foreign(folder, overwrite)
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        shutil.copyfile(content.onnx, temporary / ONNX_FILE)
        if content.weights is not None:
            shutil.copyfile(content.weights, temporary / WEIGHTS_FILE)
        texts: Mapping[str, str] = {
            CONFIG_FILE: content.config_yaml,
            PROVENANCE_FILE: content.provenance.to_json() + "\n",
            CARD_FILE: content.model_card,
        }
        for name, text in texts.items():
            (temporary / name).write_text(text, encoding="utf-8", newline="\n")
        files = {path.name: file_sha256(path) for path in sorted(temporary.iterdir())}
        write_yaml(manifest.model_copy(update={"files": files}), temporary / MANIFEST_FILE)
        if folder.exists():
            shutil.rmtree(folder)
    return load_bundle(folder)


def _refuse_foreign(folder: Path, overwrite: bool) -> None:
    if not folder.is_dir():
        raise OutputError(f"{folder} is a file; choose another folder for the model bundle")
    is_bundle = (folder / MANIFEST_FILE).is_file()
    empty = not any(folder.iterdir())
    if not empty and not is_bundle:
        raise OutputError(
            f"{folder} holds files that are no model bundle; choose another folder for the bundle"
        )
    if is_bundle and not overwrite:
        raise OutputError(f"{folder} already holds a model bundle; allow overwriting to replace it")
