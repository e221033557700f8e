"""Starting the program must not load what only some commands need.

No clock here: the time itself is in ``benchmarks/import_time.py``.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = {
    "alembic",
    "h5py",
    "imagecodecs",
    "jax",
    "keras",
    "llvmlite",
    "matplotlib",
    "mlflow",
    "numba",
    "onnx",
    "onnxruntime",
    "openvino",
    "polars",
    "scipy",
    "sqlalchemy",
    "tensorflow",
    "tifffile",
    "torch",
    "zarr",
}


def loaded_by(statement: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after ``statement``."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


@pytest.mark.parametrize("statement", ["import hdsmlm", "import hdsmlm.cli.main"])
def test_heavy_libraries_stay_out(statement: str) -> None:
    loaded = loaded_by(statement)
    assert "hdsmlm" in loaded
    assert not loaded & HEAVY


def test_config_can_be_checked_without_heavy_libraries() -> None:
    statement = (
        "import importlib, pkgutil, hdsmlm.config\n"
        "for module in pkgutil.iter_modules(hdsmlm.config.__path__):\n"
        "    importlib.import_module(f'hdsmlm.config.{module.name}')"
    )
    loaded = loaded_by(statement)
    assert "pydantic" in loaded
    assert not loaded & HEAVY
