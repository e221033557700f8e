"""Fixtures for prediction."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tiny_network import tiny_manifest, tiny_network, write_tiny_bundle

from hdsmlm.bundle import Bundle, BundleContent, write_bundle
from hdsmlm.config.network import NetworkConfig
from hdsmlm.records.provenance import Provenance

os.environ.setdefault("KERAS_BACKEND", "torch")


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_bundle(
        tmp_path_factory.mktemp("bundle") / "tiny", tiny_network(), tiny_manifest()
    )


@pytest.fixture(scope="session")
def unet_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A small network of the real kind, with Keras weights and its ONNX export."""
    pytest.importorskip("torch")
    from hdsmlm.network.export import export_onnx
    from hdsmlm.network.unet3d import build_unet3d

    folder: Path = tmp_path_factory.mktemp("unet")
    config = NetworkConfig(widths=(4, 8), head_channels=4)
    build_unet3d(config, seed=3).save_weights(folder / "network.weights.h5")
    export_onnx(folder / "network.weights.h5", config, folder / "network.onnx")
    manifest = tiny_manifest(
        network=config.model_dump(mode="json"),
        receptive_frames=config.receptive_frames,
        receptive_px=config.receptive_px,
        spatial_multiple=config.spatial_multiple,
    )
    content = BundleContent(
        folder / "network.onnx", folder / "network.weights.h5", "{}\n", Provenance("x", {}), ""
    )
    return write_bundle(folder / "unet", manifest, content)
