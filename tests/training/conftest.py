"""A tiny run that trains in a second."""

import os

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")

from hdsmlm.config.base import parse_section
from hdsmlm.config.run import RunConfig

TINY = {
    "name": "tiny",
    "simulation": {"density_per_um2": 2.0, "pixel_size_nm": 100.0},
    "network": {"widths": [4, 4], "head_channels": 4},
    "training": {
        "steps": 6,
        "batch_size": 2,
        "frames": 3,
        "patch_px": 16,
        "scene_patches": [1, 2],
        "scenes_per_group": 2,
        "workers": 0,
        "schedule": {"warmup_steps": 2},
        "validation": {"scenes": 1, "every_steps": 3},
    },
}


@pytest.fixture
def tiny() -> RunConfig:
    return parse_section(RunConfig, TINY, "tiny")
