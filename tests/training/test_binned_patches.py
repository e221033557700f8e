"""Patches of binned recordings: any orientation, doubt ignored, a function of the seed alone."""

from dataclasses import dataclass

import numpy as np
import pytest

from hdsmlm.binning.orientation import turned
from hdsmlm.config.data import DataConfig
from hdsmlm.errors import ConfigError
from hdsmlm.records.emitters import Emitters
from hdsmlm.training.binned import BinnedPatches, held_out_rows, labelled_sequence

PIXEL_NM = 100.0


@dataclass
class Scene:
    frames: np.ndarray
    emitters: Emitters
    doubtful: Emitters
    pixel_size_nm: float = PIXEL_NM


class Fake:
    """Each sequence: one bright pixel per emitter, so that labels can be read off the frames."""

    def __init__(self, n=6, shape=(4, 24, 40)):
        self.n_sequences, self.shape, self.pixel_size_nm = n, shape, PIXEL_NM
        self.read = []

    def sequence(self, index):
        self.read.append(index)
        rng = np.random.default_rng(index)
        t, height, width = self.shape
        frame, row, column = (rng.integers(0, n, 60) for n in (t, height, width))
        frames = rng.integers(100, 110, self.shape).astype(np.uint16)
        frames[frame, row, column] = 60000
        columns = {"frame": frame, "x_nm": column * 100.0 + 50, "y_nm": row * 100.0 + 50}
        table = Emitters(columns)
        doubtful = table.select(np.arange(60) < 3)
        return Scene(frames, table.select(np.arange(60) >= 3), doubtful)


def _patches(tiny, rows, rotate=True, seed=1, shape=(4, 24, 40)):
    source = BinnedPatches(
        Fake(shape=shape), np.array(rows), tiny.training, tiny.normalization, rotate
    )
    return source.draw(np.random.default_rng(seed))


def test_labels_turn_and_move_with_the_frames(tiny):
    patches = _patches(tiny, range(6))
    assert patches.frames.shape == (2, 3, 16, 16)
    bright = patches.frames > 0.9
    known = patches.weights > 0
    assert 0 < known.sum() < known.size
    np.testing.assert_array_equal(patches.classes[known] > 0, bright[known])


def test_same_seed_same_patches_and_only_of_the_given_rows(tiny):
    first, again, other = (_patches(tiny, range(6), seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.frames, again.frames)
    assert not np.array_equal(first.frames, other.frames)
    fake = Fake()
    source = BinnedPatches(fake, np.array([1, 4]), tiny.training, tiny.normalization)
    for seed in range(8):
        source.draw(np.random.default_rng(seed))
    assert set(fake.read) == {1, 4}


def test_orientations_are_the_symmetries_of_a_square():
    frames = np.random.default_rng(0).integers(0, 99, (2, 5, 5))
    turns = [turned(frames, k) for k in range(8)]
    assert len({one.tobytes() for one in turns}) == 8
    for k, one in enumerate(turns):
        assert any(np.array_equal(turned(one, j), frames) for j in range(8))
        rows_stay_rows = any(
            np.array_equal(np.sort(one[0], axis=1), np.sort(frames[0][::step], axis=1))
            for step in (1, -1)
        )
        assert rows_stay_rows == (k < 4)


def test_an_astigmatic_source_is_never_turned(tiny):
    """A gradient along y stays one along y, whatever is drawn; turned ones lie along x."""
    steep_along_y = []
    for rotate in (False, True):
        fake = Fake(shape=(3, 16, 16))
        scene = fake.sequence(0)
        ramp = np.broadcast_to(np.arange(16)[None, :, None] * 100, (3, 16, 16))
        fake.sequence = lambda _, s=scene, r=ramp: Scene(
            r.astype(np.uint16), s.emitters, s.doubtful
        )
        source = BinnedPatches(fake, np.array([0]), tiny.training, tiny.normalization, rotate)
        patches = [source.draw(np.random.default_rng(seed)) for seed in range(10)]
        along_y = [np.abs(np.diff(p.frames, axis=2)).sum((1, 2, 3)) > 0 for p in patches]
        steep_along_y.append(np.concatenate(along_y))
    assert steep_along_y[0].all()
    assert not steep_along_y[1].all()


def test_whole_sequence_keeps_its_doubtful_spots(tiny):
    scene = labelled_sequence(Fake(), 2, tiny.normalization)
    assert len(scene.doubtful) == 3
    assert scene.frames.shape == (4, 24, 40)
    for frame, x, y in zip(
        scene.doubtful["frame"], scene.doubtful["x_nm"], scene.doubtful["y_nm"], strict=True
    ):
        assert scene.labels.weights[frame, int(y // PIXEL_NM), int(x // PIXEL_NM)] == 0


@pytest.mark.parametrize("n", [2, 3, 9, 10, 101])
def test_the_last_sequences_are_held_out(n):
    learnt, kept = held_out_rows(n)
    assert len(learnt) >= 1
    assert len(kept) == max(1, round(0.1 * n))
    np.testing.assert_array_equal(np.concatenate([learnt, kept]), np.arange(n))


def test_one_sequence_is_too_few():
    with pytest.raises(ConfigError, match="at least two sequences"):
        held_out_rows(1)


def test_mixture_must_have_a_source_and_names_of_their_own():
    with pytest.raises(ValueError, match="no source is left"):
        DataConfig.model_validate({"simulated": {"weight": 0}})
    with pytest.raises(ValueError, match="two sources are called b"):
        DataConfig.model_validate({"binned": [{"folder": "a/b"}, {"folder": "c/b"}]})
    data = DataConfig.model_validate(
        {"simulated": {"weight": 3}, "binned": [{"folder": "/home/x/cell", "weight": 1}]}
    )
    assert data.names == ("simulated", "cell")
    assert data.weights == (0.75, 0.25)
    assert "/home" not in data.without_places().model_dump_json()
