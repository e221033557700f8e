"""Torch and JAX compute the same network, loss, schedule and training steps."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROBE = Path(__file__).with_name("backend_probe.py")


def _run(backend: str, folder: Path) -> dict[str, np.ndarray]:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed (pip install 'hdsmlm[{backend}]')")
    target = folder / f"{backend}.npz"
    done = subprocess.run(
        [sys.executable, str(PROBE), str(target)],
        env={**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(target) as archive:
        return {name: archive[name] for name in archive.files}


def test_backends_agree(tmp_path):
    torch, jax = _run("torch", tmp_path), _run("jax", tmp_path)
    np.testing.assert_allclose(jax["output"], torch["output"], atol=1e-5)
    np.testing.assert_allclose(jax["rates"], torch["rates"], rtol=1e-5)
    np.testing.assert_allclose(jax["losses"], torch["losses"], rtol=1e-3)
    assert torch["losses"][-1] < torch["losses"][0]
