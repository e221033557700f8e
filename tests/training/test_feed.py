"""Samples are a function of seed and step alone."""

from itertools import islice

import numpy as np
import pytest

from hdsmlm.config.run import RunConfig
from hdsmlm.labels.counts import count_labels
from hdsmlm.normalization import normalizer_of_array
from hdsmlm.simulation.scene import SceneSampler
from hdsmlm.training.feed import SampleFeed, draw_group
from hdsmlm.training.patches import patches_of_scene


def _with(config: RunConfig, **training) -> RunConfig:
    return config.model_copy(update={"training": config.training.model_copy(update=training)})


def _batches(config, first_step, count, workers=0):
    with SampleFeed(config, first_step, workers) as feed:
        return list(islice(iter(feed), count))


def _same(a, b):
    return (
        np.array_equal(a.frames, b.frames)
        and np.array_equal(a.classes, b.classes)
        and np.array_equal(a.weights, b.weights)
    )


def test_resumed_feed_continues_the_sequence(tiny):
    whole = _batches(tiny, 0, 6)
    for first_step in (1, 2, 3):
        rest = _batches(tiny, first_step, 6 - first_step)
        assert all(_same(a, b) for a, b in zip(whole[first_step:], rest, strict=True))


def test_worker_processes_change_nothing(tiny):
    alone = _batches(tiny, 1, 3)
    shared = _batches(tiny, 1, 3, workers=1)
    assert all(_same(a, b) for a, b in zip(alone, shared, strict=True))


def test_groups_and_seeds_differ(tiny):
    first = draw_group(tiny, 0)
    assert not np.array_equal(first.frames, draw_group(tiny, 1).frames)
    assert not np.array_equal(first.frames, draw_group(_with(tiny, seed=2), 0).frames)


def test_patches_tile_the_scene_and_share_its_levels(tiny):
    scene = SceneSampler(tiny.simulation, tiny.training.scene_shape).draw(3, 0)
    patches = patches_of_scene(scene, tiny)
    assert patches.frames.shape == (2, 3, 16, 16)
    whole = normalizer_of_array(scene.frames, tiny.normalization)(scene.frames, 0)
    np.testing.assert_array_equal(patches.frames[1], whole[:, :16, 16:32])
    labels = count_labels(scene.emitters, scene.frames.shape, scene.pixel_size_nm)
    np.testing.assert_array_equal(patches.classes[0], labels.classes[:, :16, :16])
    assert patches.classes.sum() == labels.classes.sum()


def test_group_that_batches_do_not_divide_is_refused(tiny):
    values = tiny.model_dump()
    values["training"]["batch_size"] = 3
    with pytest.raises(ValueError, match="does not divide"):
        RunConfig.model_validate(values)


def test_waiting_time_is_counted(tiny):
    with SampleFeed(tiny) as feed:
        next(iter(feed))
        assert 0.0 < feed.wait_share <= 1.0
