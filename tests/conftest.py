"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real and third-party data; skip where it is not beside the project."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real movies and tables (../shared/data) are not beside this checkout")
    return folder


def _write_binned(
    folder: Path,
    n_sequences: int = 5,
    shape: tuple[int, int, int] = (3, 30, 44),
    pixel_size_nm: float = 100.0,
    psf: str = "gaussian",
) -> Path:
    import numpy as np
    import tifffile
    import yaml

    from hdsmlm.config.simulation import SimulationConfig
    from hdsmlm.io.tables import write_table
    from hdsmlm.records.emitters import Emitters
    from hdsmlm.records.provenance import file_sha256
    from hdsmlm.simulation.scene import SceneSampler

    folder.mkdir(parents=True)
    ranges = SimulationConfig(density_per_um2=(1.5, 1.5), pixel_size_nm=(pixel_size_nm,) * 2)
    sampler = SceneSampler(ranges, shape)
    scenes = [sampler.draw(77, index) for index in range(n_sequences)]
    tifffile.imwrite(
        folder / "movie.tif",
        np.concatenate([scene.frames for scene in scenes]),
        photometric="minisblack",
    )
    truth = Emitters.concatenate(
        [
            scene.emitters.with_columns(frame=scene.emitters["frame"] + k * shape[0])
            for k, scene in enumerate(scenes)
        ]
    )
    write_table(truth.with_columns(flags=np.arange(len(truth)) % 10 == 0), folder / "truth.csv")
    kernel = {"kind": psf, "sigma_px": 1.3} if psf == "gaussian" else {"kind": psf}
    camera = {"camera": {"kind": "ideal"}, "psf": kernel, "pixel_size_nm": pixel_size_nm}
    (folder / "camera.yaml").write_text(yaml.safe_dump(camera))
    facts = {
        "factor": 5,
        "sequence_frames": shape[0],
        "source_sha256": "0" * 64,
        "movie_sha256": file_sha256(folder / "movie.tif"),
        "truth_sha256": file_sha256(folder / "truth.csv"),
    }
    (folder / "binning.yaml").write_text(yaml.safe_dump(facts))
    return folder


@pytest.fixture(scope="session")
def make_binned() -> Callable[..., Path]:
    """Return a writer of folders like those of ``hdsmlm bin``; every tenth emitter is doubtful."""
    return _write_binned


@pytest.fixture
def binned_folder(tmp_path: Path) -> Path:
    return _write_binned(tmp_path / "cell_bin5")
