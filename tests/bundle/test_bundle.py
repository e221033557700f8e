"""A bundle says all about itself and refuses to be anything else than what was written."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

import pytest
import yaml

from hdsmlm.bundle import Bundle, BundleContent, BundleManifest, load_bundle, write_bundle
from hdsmlm.bundle import reading as bundle_reading
from hdsmlm.config.normalization import NormalizationConfig
from hdsmlm.config.prediction import CalibrationConfig, DecodingConfig
from hdsmlm.errors import BundleError, OutputError
from hdsmlm.records.provenance import Provenance


def manifest() -> BundleManifest:
    return BundleManifest(
        name="tiny",
        description="A network for tests.",
        created="2026-01-01T00:00:00+00:00",
        network={"widths": [4, 8]},
        normalization=NormalizationConfig(low_percentile=10.0),
        window_frames=3,
        receptive_frames=1,
        receptive_px=5,
        spatial_multiple=4,
        decoding=DecodingConfig(threshold=0.42),
        calibration=CalibrationConfig(temperature=1.2, class_bias=(0.0, 0.1, 0.2, 0.3)),
        scores={"test": {"f1": 0.5}},
    )


def content(folder: Path) -> BundleContent:
    (folder / "in.onnx").write_bytes(b"graph")
    (folder / "in.h5").write_bytes(b"weights")
    return BundleContent(
        onnx=folder / "in.onnx",
        weights=folder / "in.h5",
        config_yaml="training: {}\n",
        provenance=Provenance("train", {"seed": 1}),
        model_card="# tiny\n",
    )


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "tiny", manifest(), content(tmp_path))


def test_round_trip_keeps_every_value(bundle: Bundle) -> None:
    loaded = load_bundle(bundle.folder)
    assert loaded == bundle
    assert loaded.manifest.model_copy(update={"files": {}}) == manifest()
    assert loaded.onnx_path.read_bytes() == b"graph"
    assert loaded.weights_path.read_bytes() == b"weights"
    assert loaded.model_card == "# tiny\n"
    assert (loaded.folder / "config.yaml").read_text() == "training: {}\n"
    assert sorted(loaded.manifest.files) == [
        "MODEL_CARD.md", "config.yaml", "model.onnx", "provenance.json", "weights.weights.h5",
    ]  # fmt: skip


def test_the_path_of_the_manifest_opens_the_bundle_too(bundle: Bundle) -> None:
    assert load_bundle(bundle.folder / "bundle.yaml") == bundle


def test_a_shipped_model_is_found_by_name(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_reading, "shipped_models", lambda: {"wolf": bundle.folder})
    assert load_bundle("wolf") == bundle
    with pytest.raises(BundleError, match=r"no model 'wolfe'.*did you mean 'wolf'.*shipped.*wolf"):
        load_bundle("wolfe")


def test_shipped_models_lie_in_folders_of_their_own_name() -> None:
    for name, folder in bundle_reading.shipped_models().items():
        assert load_bundle(name).manifest.name == name == folder.name


@pytest.mark.parametrize("name", ["model.onnx", "weights.weights.h5", "provenance.json"])
def test_a_changed_file_is_refused(bundle: Bundle, name: str) -> None:
    with (bundle.folder / name).open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(BundleError, match=rf"{name} is corrupt or was changed.*again"):
        load_bundle(bundle.folder)


@pytest.mark.parametrize("name", ["model.onnx", "weights.weights.h5", "MODEL_CARD.md"])
def test_a_missing_file_is_named(bundle: Bundle, name: str) -> None:
    (bundle.folder / name).unlink()
    with pytest.raises(BundleError, match=f"misses {name}"):
        load_bundle(bundle.folder)


def test_a_folder_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"not a model bundle: it has no bundle\.yaml"):
        load_bundle(tmp_path)


def test_a_file_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match="is a file; a model bundle is a folder"):
        load_bundle(tmp_path / "model.onnx")


def rewrite(bundle: Bundle, **changes: object) -> None:
    path = bundle.folder / "bundle.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))


def test_a_newer_schema_asks_for_an_update(bundle: Bundle) -> None:
    rewrite(bundle, schema_version=99, something_new=1)
    with pytest.raises(BundleError, match=r"schema version 99.*pip install -U hdsmlm"):
        load_bundle(bundle.folder)


def test_a_misspelt_key_names_the_nearest(bundle: Bundle) -> None:
    rewrite(bundle, normalisation={})
    with pytest.raises(BundleError, match="did you mean 'normalization'"):
        load_bundle(bundle.folder)


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", "", "\x00\x01"])
def test_a_corrupt_manifest_is_refused(bundle: Bundle, text: str) -> None:
    (bundle.folder / "bundle.yaml").write_text(text)
    with pytest.raises(BundleError, match="corrupt"):
        load_bundle(bundle.folder)


def test_a_manifest_cannot_point_outside_its_folder(bundle: Bundle) -> None:
    rewrite(bundle, files={**bundle.manifest.files, "../in.h5": "0" * 64})
    with pytest.raises(BundleError, match="outside the bundle's folder"):
        load_bundle(bundle.folder)


def test_a_bundle_without_graph_is_incomplete(bundle: Bundle) -> None:
    rewrite(bundle, files={})
    with pytest.raises(BundleError, match=r"lists no model\.onnx"):
        load_bundle(bundle.folder)


def test_yaml_tags_are_not_executed(bundle: Bundle) -> None:
    path = bundle.folder / "bundle.yaml"
    path.write_text(path.read_text() + "\nevil: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(BundleError, match="not valid YAML"):
        load_bundle(bundle.folder)


def test_overwriting_must_be_asked_for(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="already holds a model bundle"):
        write_bundle(bundle.folder, manifest(), content(tmp_path))
    again = manifest().model_copy(update={"description": "second"})
    written = write_bundle(bundle.folder, again, content(tmp_path), overwrite=True)
    assert written.manifest.description == "second"


def test_a_foreign_folder_is_never_replaced(tmp_path: Path) -> None:
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.txt").write_text("years of work")
    with pytest.raises(OutputError, match="no model bundle"):
        write_bundle(foreign, manifest(), content(tmp_path), overwrite=True)
    assert (foreign / "chapter.txt").read_text() == "years of work"


def test_a_full_disk_leaves_no_half_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    source = content(tmp_path)
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(OutputError, match="the disk is full"):
        write_bundle(tmp_path / "out", manifest(), source)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.h5", "in.onnx"]
