"""Joint training data: old runs see what they saw, mixtures are functions of seed and step."""

from itertools import islice

import numpy as np
import pytest

from hdsmlm.config.data import DataConfig
from hdsmlm.errors import ConfigError
from hdsmlm.training.feed import SampleFeed, draw_group
from hdsmlm.training.mixture import Mixture
from hdsmlm.training.sources import open_sources


def _mixed(config, *folders, simulated=1.0, **changes):
    data = {
        "simulated": {"weight": simulated},
        "binned": [{"folder": folder, "weight": 1.0, **changes} for folder in folders],
    }
    return config.model_copy(update={"data": DataConfig.model_validate(data)})


def _same(a, b):
    return all(
        np.array_equal(getattr(a, name), getattr(b, name))
        for name in ("frames", "classes", "weights")
    )


def test_simulated_alone_gives_the_samples_of_ever(tiny):
    """Golden numbers of the version before there were mixtures."""
    for group, classes, weights, mean in (
        (0, 42, 2870.0, -0.6351798176765442),
        (5, 43, 3057.0, -0.7475813031196594),
    ):
        patches = draw_group(tiny, group)
        assert int(patches.classes.sum()) == classes
        assert float(patches.weights.sum()) == weights
        assert float(patches.frames.mean()) == pytest.approx(mean, abs=1e-6)


def test_resumed_mixture_continues_and_workers_change_nothing(tiny, binned_folder):
    config = _mixed(tiny, binned_folder)

    def batches(first_step, count, workers=0):
        with SampleFeed(config, first_step, workers) as feed:
            return list(islice(iter(feed), count))

    whole = batches(0, 6)
    assert all(_same(a, b) for a, b in zip(whole[3:], batches(3, 3), strict=True))
    assert all(_same(a, b) for a, b in zip(whole, batches(0, 6, workers=1), strict=True))


def test_shares_of_the_sources_are_the_weights(tiny, binned_folder, make_binned, tmp_path):
    second = make_binned(tmp_path / "other", n_sequences=2)
    mixture = Mixture.of(_mixed(tiny, binned_folder, second, simulated=2.0))
    n = 2000
    counts = np.bincount([mixture.source_of(index) for index in range(n)], minlength=3)
    for count, share in zip(counts, (0.5, 0.25, 0.25), strict=True):
        assert abs(count - n * share) < 4 * np.sqrt(n * share * (1 - share))


def test_simulated_scenes_of_a_mixture_are_those_of_the_run_without_it(tiny, binned_folder):
    alone, mixed = Mixture.of(tiny), Mixture.of(_mixed(tiny, binned_folder))
    sources = [mixed.source_of(index) for index in range(12)]
    assert {0, 1} == set(sources)
    for index, source in enumerate(sources):
        assert _same(alone.patches(index), mixed.patches(index)) == (source == 0)


def test_held_out_sequences_are_never_drawn(tiny, binned_folder):
    config = _mixed(tiny, binned_folder, simulated=0.0)
    (source,) = open_sources(config)
    assert source.held_out_rows.tolist() == [4]
    read = []
    inner = source.sequences.sequence

    class Watched:
        shape = source.sequences.shape

        def sequence(self, index):
            read.append(index)
            return inner(index)

    watched = type(source)(
        Watched(), source.learnt_rows, source.held_out_rows, source.rotate, source.identity
    )
    mixture = Mixture(config, (watched,))
    for index in range(30):
        mixture.patches(index)
    assert set(read) == {0, 1, 2, 3}


def test_doubtful_emitters_are_left_out_of_the_truth_and_ignored(tiny, binned_folder):
    (source,) = open_sources(_mixed(tiny, binned_folder))
    identity = source.identity
    assert identity.n_doubtful == pytest.approx((identity.n_emitters + identity.n_doubtful) / 10, 1)
    total = sum(
        len(source.sequences.sequence(k).emitters) for k in range(source.sequences.n_sequences)
    )
    assert total == identity.n_emitters


@pytest.mark.parametrize(("psf", "turned"), [("gaussian", True), ("astigmatic", False)])
def test_rotation_follows_the_psf_unless_asked_for(tiny, make_binned, tmp_path, psf, turned):
    folder = make_binned(tmp_path / psf, n_sequences=2, psf=psf)
    assert open_sources(_mixed(tiny, folder))[0].rotate == turned
    assert open_sources(_mixed(tiny, folder, rotate=not turned))[0].rotate != turned


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"shape": (2, 30, 44)}, "sequences have 2 frames.*--sequence-frames 3"),
        ({"shape": (3, 14, 44)}, "smaller than a patch of 16 px"),
        ({"pixel_size_nm": 160.0}, "160 nm, outside of simulation.pixel_size_nm 100-100"),
        ({"n_sequences": 1}, "at least two sequences"),
    ],
)
def test_folder_that_does_not_fit_is_one_clear_error(tiny, make_binned, tmp_path, made, message):
    folder = make_binned(tmp_path / "odd", **made)
    with pytest.raises(ConfigError, match=message):
        open_sources(_mixed(tiny, folder))


def test_missing_folder_says_what_to_do(tiny, tmp_path):
    with pytest.raises(ConfigError, match=r"no such folder; make it with `hdsmlm bin MOVIE"):
        open_sources(_mixed(tiny, tmp_path / "none"))


def test_changed_files_are_noticed(tiny, binned_folder):
    table = binned_folder / "truth.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ConfigError, match=r"truth\.csv is not what binning\.yaml says"):
        open_sources(_mixed(tiny, binned_folder), verify=True)
