"""Counts of sums against sums of counts: the parts are found again from the folder's own record."""

import hashlib
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import yaml

from hdsmlm.binning.orientation import turned
from hdsmlm.binning.plan import PlanRules, draw_sum
from hdsmlm.config.normalization import NormalizationConfig
from hdsmlm.errors import MovieError
from hdsmlm.pipelines import count_consistency
from hdsmlm.records.provenance import file_sha256


class _BrightPixels:
    """Counts one emitter in every pixel that is clearly above the background."""

    def __init__(self, *_):
        pass

    def predict(self, frames):
        p = np.zeros((len(frames), 4, *frames.shape[1:]), np.float32)
        p[:, 1] = frames > 0
        p[:, 0] = 1 - p[:, 1]
        return p


@pytest.mark.parametrize("crop", [None, 24])
def test_bright_pixels_add_up_exactly(tmp_path, make_binned, monkeypatch, crop):
    rng = np.random.default_rng(0)
    sparse = np.full((60, 30, 44), 100, np.uint16)
    for frame in sparse:
        frame[rng.integers(30, size=3), rng.integers(44, size=3)] = 20_000
    origin = tmp_path / "sparse.tif"
    tifffile.imwrite(origin, sparse, photometric="minisblack")
    rules = PlanRules(60, 30, 44, 5, 3, 4, crop, True)
    height, width = rules.shape
    sums, expected = [], []
    for index in range(4):
        total = np.zeros((3, height, width), int)
        for part in draw_sum(rules, 9, index):
            window = sparse[part.start : part.start + 3].astype(int) - 100
            window = window[:, part.top : part.top + height, part.left : part.left + width]
            total += turned(window, part.orientation)
        sums.append(total + 100)
        expected.append((total > 0).sum(axis=(1, 2)))
    folder = make_binned(tmp_path / "b", n_sequences=4, shape=(3, height, width))
    frames = np.clip(np.concatenate(sums), 0, 65535).astype(np.uint16)
    tifffile.imwrite(folder / "movie.tif", frames, photometric="minisblack")
    facts = yaml.safe_load((folder / "binning.yaml").read_text())
    digest = hashlib.sha256(file_sha256(origin).encode()).hexdigest()
    facts |= {"seed": 9, "lag_frames": 4, "augment": crop is not None, "source_sha256": digest}
    (folder / "binning.yaml").write_text(yaml.safe_dump(facts))

    monkeypatch.setattr(count_consistency, "build_engine", lambda *_, **__: None)
    monkeypatch.setattr(count_consistency, "Predictor", _BrightPixels)
    levels = NormalizationConfig(low_percentile=0.0, high_percentile=100.0)
    bundle = SimpleNamespace(manifest=SimpleNamespace(normalization=levels))
    result = count_consistency.compare_counts(bundle, folder, origin)
    np.testing.assert_array_equal(result.binned, np.concatenate(expected))
    # The same pixel may be bright in two parts: then the sum shows one where the parts count two.
    assert (result.summed >= result.binned).all()
    assert result.ratio > 0.97
    assert result.error < 0.03

    other = tmp_path / "other.tif"
    tifffile.imwrite(other, sparse[::-1], photometric="minisblack")
    with pytest.raises(MovieError, match="is not the movie"):
        count_consistency.compare_counts(bundle, folder, other)
