"""hdsmlm bin and titrate as a whole, on a small simulated movie whose truth is known."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tifffile
import yaml
from scipy.spatial import cKDTree
from typer.testing import CliRunner

from hdsmlm.cli.main import app
from hdsmlm.config.base import write_yaml
from hdsmlm.config.binning import BinningConfig
from hdsmlm.config.camera import IdealConfig
from hdsmlm.config.microscope import MicroscopeConfig
from hdsmlm.config.psf import GaussianPsfConfig
from hdsmlm.config.titration import TitrationConfig
from hdsmlm.errors import HdsmlmError
from hdsmlm.imaging.psf import GaussianPsf
from hdsmlm.io.movies import open_movie
from hdsmlm.io.tables import read_table
from hdsmlm.pipelines.bin import BinJob, bin_movie
from hdsmlm.pipelines.sparse import SparseJob, measure_sparse
from hdsmlm.pipelines.sums import Sums
from hdsmlm.pipelines.titrate import TitrateJob, titrate_movie

N_FRAMES, SIDE, P_NM = 60, 64, 100.0
CONFIG = BinningConfig(factor=3, sequences=6, sequence_frames=3, seed=4)


def write_movie(folder, on_frames=2.0, per_frame=3.0, drift_px=0.0, n_frames=N_FRAMES):
    """Write an ideal camera's movie; return its path and its emitters (frame, x, y)."""
    rng = np.random.default_rng(6)
    n = int(per_frame * n_frames / on_frames)
    start = rng.integers(-2, n_frames, n)
    length = rng.geometric(1 / on_frames, n)
    place = rng.uniform(5, SIDE - 5 - drift_px * n_frames, (n, 2))
    rows = [
        (t, x + drift_px * t, y)
        for (x, y), first, m in zip(place, start, length, strict=True)
        for t in range(max(first, 0), min(first + m, n_frames))
    ]
    truth = np.array(rows)
    light = np.full((n_frames, SIDE, SIDE), 8.0)
    where = np.column_stack([truth[:, 1:], np.zeros(len(truth))])
    frame = truth[:, 0].astype(np.int64)
    GaussianPsf(1.3).add_to(light, frame, where, np.full(len(truth), 1500.0))
    path = folder / "sparse.tif"
    tifffile.imwrite(path, (100 + rng.poisson(light)).astype(np.uint16))
    microscope = MicroscopeConfig(
        camera=IdealConfig(), psf=GaussianPsfConfig(sigma_px=1.3), pixel_size_nm=P_NM
    )
    write_yaml(microscope, folder / "camera.yaml")
    return path, truth


@pytest.fixture(scope="module")
def sparse(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sparse")
    path, truth = write_movie(folder)
    job = SparseJob(path, "wolf", folder / "camera.yaml")
    bin_movie(BinJob(job, folder / "bin"), CONFIG)
    return folder, job, truth


def test_the_folder_holds_sums_and_labels_that_are_true(sparse) -> None:
    folder, job, truth = sparse
    facts = yaml.safe_load((folder / "bin" / "binning.yaml").read_text())
    frames = tifffile.imread(folder / "bin" / "movie.tif")
    assert frames.shape == (CONFIG.sequences * CONFIG.sequence_frames, SIDE, SIDE)
    assert facts["n_emitters"] > 30
    with open_movie(job.movie) as reader:
        measured = measure_sparse(reader, job, CONFIG, folder / "bin")
    labels = measured.movie.candidates.select(measured.movie.sound)
    places = np.column_stack([labels["frame"] * 1e6, labels["x_nm"], labels["y_nm"]])
    true = np.column_stack([truth[:, 0] * 1e6, truth[:, 1] * P_NM, truth[:, 2] * P_NM])
    distance, _ = cKDTree(true).query(places)
    assert np.mean(distance < 150) > 0.95
    written = read_table(folder / "bin" / "truth.csv")
    assert int((written["flags"] == 0).sum()) == facts["n_emitters"]


def test_a_single_summand_is_the_sparse_movie_itself(sparse) -> None:
    folder, job, _ = sparse
    with open_movie(job.movie) as reader:
        measured = measure_sparse(reader, job, CONFIG, folder / "bin")
        scene = Sums(measured, CONFIG, 1).sequence(2)
        start = next(
            t
            for t in range(N_FRAMES - 2)
            if np.ptp(scene.frames.astype(int) - reader.read(t, t + 3)) == 0
        )
        assert 0 <= start < N_FRAMES


def test_a_stopped_run_goes_on_from_its_localizations_to_the_same_bytes(sparse, tmp_path) -> None:
    folder, job, _ = sparse
    out = tmp_path / "out"
    out.mkdir()
    for name in ("sparse", "candidates"):
        for ending in (".csv", ".csv.yaml", ".sha256"):
            shutil.copy(folder / "bin" / (name + ending), out)
    stages = set()
    bin_movie(BinJob(job, out), CONFIG, lambda event: stages.add(event.stage))
    assert "bin" in stages
    assert "localize" not in stages
    for name in ("movie.tif", "truth.csv"):
        assert (out / name).read_bytes() == (folder / "bin" / name).read_bytes()


def test_titration_falls_with_density(sparse, tmp_path) -> None:
    _, job, _ = sparse
    binning = BinningConfig(sequences=4, sequence_frames=3, augment=True, snr_of="sum")
    config = TitrationConfig(factors=(1, 12), binning=binning)
    result = titrate_movie(TitrateJob(job, tmp_path / "t"), config)
    low, high = (step.score.detection.f1 for step in result.steps)
    assert high < low
    assert result.steps[1].density_per_um2 == pytest.approx(12 * result.density_per_um2)
    assert "nan" not in result.to_text()
    for name in ("titration.csv", "titration.json", "titration.png"):
        assert (tmp_path / "t" / name).stat().st_size > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--factor", "40"], "the movie has 60 frames"),
        (["--set", "factor=1"], "factor"),
        (["--set", "crop_px=32"], "augment"),
        (["--set", "max_doubtful_share=0.0001"], "too dense to bin"),
        ([], "already holds a binned movie"),
    ],
)
def test_bad_input_is_told_with_exit_code_2(sparse, tmp_path, arguments, message) -> None:
    folder, job, _ = sparse
    out = shutil.copytree(folder / "bin", tmp_path / "bin")
    if arguments:
        (out / "binning.yaml").unlink()
    call = ["bin", str(job.movie), "--out", str(out), "--camera", str(job.microscope)]
    with pytest.raises(HdsmlmError, match=message) as caught:
        CliRunner().invoke(app, [*call, *arguments], catch_exceptions=False)
    assert caught.value.exit_code == 2


def test_a_table_that_was_edited_is_not_trusted(sparse, tmp_path) -> None:
    folder, job, _ = sparse
    out = shutil.copytree(folder / "bin", tmp_path / "bin")
    (out / "binning.yaml").unlink()
    untouched = (out / "sparse.csv").read_bytes()
    lines = untouched.splitlines(keepends=True)
    (out / "sparse.csv").write_bytes(b"".join(lines[: len(lines) // 2]))
    bin_movie(BinJob(job, out), CONFIG)
    assert (out / "sparse.csv").read_bytes() == untouched


def test_a_drifting_movie_and_lasting_blinks_are_refused(tmp_path) -> None:
    path, _ = write_movie(tmp_path, on_frames=8.0, drift_px=0.2, n_frames=40)
    job = SparseJob(path, "wolf", tmp_path / "camera.yaml")
    config = CONFIG.model_copy(update={"min_lag_frames": 10})
    with pytest.raises(HdsmlmError, match=r"drifts by .* nm per frame"):
        bin_movie(BinJob(job, tmp_path / "drift"), config)
    path, _ = write_movie(tmp_path, on_frames=1000.0, per_frame=600.0, n_frames=20)
    with pytest.raises(HdsmlmError, match="longer than the movie's 20 frames"):
        bin_movie(BinJob(job, tmp_path / "lasting"), CONFIG)
