"""The shipped models: small, whole, good on scenes never seen, plausible on real movies."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from hdsmlm.bundle import load_bundle, shipped_models
from hdsmlm.config.normalization import NormalizationConfig
from hdsmlm.config.test_set import TestSetConfig
from hdsmlm.evaluation.detection import random_placement
from hdsmlm.evaluation.matching import Field, match_knn
from hdsmlm.evaluation.scores import score, tiers
from hdsmlm.inference.decode import decode
from hdsmlm.inference.engines import build_engine
from hdsmlm.inference.predictor import Predictor
from hdsmlm.io.movies import open_movie
from hdsmlm.normalization import fit_normalizer, normalizer_of_array
from hdsmlm.pipelines.test_set import simulation_of_case
from hdsmlm.simulation.scene import SceneSampler

UNSEEN_SEED = 3_000_000_001


@pytest.fixture(scope="module", params=sorted(shipped_models()))
def bundle(request):
    return load_bundle(request.param)


@pytest.fixture(scope="module")
def predictor(bundle):
    return Predictor(build_engine("openvino", bundle), bundle.manifest)


def _scene(density):
    config = TestSetConfig()
    case = next(case for case in config.headline if case.density_per_um2 == density)
    return SceneSampler(simulation_of_case(case, config), (9, 96, 96)).draw(UNSEEN_SEED, 0)


def test_it_fits_into_four_megabytes(bundle):
    assert sum(path.stat().st_size for path in bundle.folder.iterdir()) <= 4 * 1024 * 1024


def test_its_card_states_what_its_manifest_measured(bundle):
    headline = bundle.manifest.scores["headline_tier1"]
    (row,) = re.findall(r"\| \*\*mean\*\* \|(.*)", bundle.model_card)
    stated = [float(value) for value in re.findall(r"\*\*([0-9.]+)\*\*", row)]
    measured = [headline[name] for name in ("f1", "recall", "precision")]
    assert stated == pytest.approx(measured, abs=0.0005 + 0.00005)  # 3 digits of 4


@pytest.mark.parametrize(("density", "least_f1"), [(0.5, 0.88), (2.0, 0.82)])
def test_it_finds_what_it_has_never_seen(bundle, predictor, density, least_f1):
    scene = _scene(density)
    normalize = normalizer_of_array(scene.frames, bundle.manifest.normalization)
    p = predictor.predict(normalize(scene.frames, 0))
    found = decode(p, bundle.manifest.decoding, pixel_size_nm=100.0)
    reliable = tiers(scene.emitters) == 1
    result = score(match_knn(scene.emitters, found, 100.0), reliable)
    field = Field(9, 96, 96, 100.0)
    guess = random_placement(found, field, np.random.default_rng(1))
    chance = score(match_knn(scene.emitters, guess, 100.0), reliable)
    assert result.f1 > least_f1
    assert chance.f1 < 0.3
    assert result.rmse_nm < 75.0


def test_tiles_and_engines_do_not_change_its_answer(bundle, predictor):
    frames = np.random.default_rng(2).uniform(-1, 1, (7, 168, 136)).astype(np.float32)
    whole = predictor.predict(frames)
    tiled = Predictor(build_engine("openvino", bundle), bundle.manifest, tile_px=64).predict(frames)
    np.testing.assert_allclose(tiled, whole, atol=2e-4)
    for engine in ("onnxruntime", "keras"):
        other = Predictor(build_engine(engine, bundle), bundle.manifest).predict(frames)
        np.testing.assert_allclose(other, whole, atol=2e-4)


def _bright_spots(frame):
    """Return (x, y) in pixels of the local maxima that stand 8 sigma out of their surroundings."""
    smooth = ndimage.gaussian_filter(frame.astype(float), 1.2)
    contrast = smooth - ndimage.median_filter(smooth, 21)
    sigma = 1.4826 * np.median(np.abs(contrast))
    peaks = (contrast == ndimage.maximum_filter(contrast, 5)) & (contrast > 8 * sigma)
    y, x = np.nonzero(peaks)
    return np.column_stack([x, y]) + 0.5


@pytest.mark.shared_data
@pytest.mark.parametrize(
    "name",
    ["scmos_storm/sCMOS_sample.dax", "threeB_dense_ring.tif", "pMHC_AF647_200k_000_.SPE"],
)
def test_bright_spots_of_real_movies_are_found(bundle, predictor, shared_data: Path, name):
    with open_movie(shared_data / "movies" / name) as movie:
        frames = movie.read(0, 9)
        normalize = fit_normalizer(movie, NormalizationConfig(window_frames="auto"))
    p = predictor.predict(normalize(frames, 0))
    found = decode(p, bundle.manifest.decoding, pixel_size_nm=1.0)
    spots = covered = 0
    for frame in range(9):
        here = found.select(found["frame"] == frame)
        bright = _bright_spots(frames[frame])
        tree = cKDTree(np.column_stack([here["x_nm"], here["y_nm"]]))
        distance, _ = tree.query(bright)
        spots += len(bright)
        covered += int((distance < 2.0).sum())
    assert spots > 20
    assert covered / spots > 0.85
