"""Fixtures for prediction."""

from __future__ import annotations

import pytest
from tiny_network import tiny_manifest, tiny_network, write_tiny_bundle

from hdsmlm.bundle import Bundle


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_tiny_bundle(
        tmp_path_factory.mktemp("bundle") / "tiny", tiny_network(), tiny_manifest()
    )
