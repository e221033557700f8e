"""Several devices take the steps of one: losses, weights, clipping, averages, samples, stops."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from itertools import islice
from pathlib import Path

import keras
import numpy as np
import pytest
from watched import Watched, ignore, varied

from hdsmlm.compute.failure import classify
from hdsmlm.compute.task import Status
from hdsmlm.config.run import RunConfig
from hdsmlm.errors import ConfigError, DivergedError, ReplicaError
from hdsmlm.machine import usable_cores
from hdsmlm.training import loop, processes
from hdsmlm.training.feed import SampleFeed
from hdsmlm.training.loop import REASONS, Follower, n_samplers
from hdsmlm.training.model import compile_model
from hdsmlm.training.parallel import OneProcess, open_replicas
from hdsmlm.training.processes import TorchProcesses
from hdsmlm.training.trainer import TrainingLimits

FRAMES = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16)).astype(np.float32)
JAX_PROBE = Path(__file__).with_name("jax_mesh_probe.py")
two_cores = pytest.mark.skipif(usable_cores() < 2, reason="two processes need two cores")


def _score(network):
    return {"loss": float(-np.log(network(FRAMES)[:, 0]).mean())}


def _signal_rank_1(number):
    (process,) = [p for p in multiprocessing.active_children() if p.name == "rank1"]
    os.kill(process.pid, number)


def _state(trainer):
    variables = (*trainer.model.weights, *trainer.model.optimizer.variables)
    return [keras.ops.convert_to_numpy(v.value) for v in variables]


def _assert_same(a, b):
    for one, other in zip(_state(a), _state(b), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.fixture
def whole(tiny, tmp_path):
    """The run on one device in one go."""
    trainer = Watched(varied(tiny), tmp_path / "whole", _score, ignore)
    assert trainer.run().complete
    return trainer


@two_cores
def test_two_processes_one_and_two_again_are_the_run_on_one_device(tiny, tmp_path, whole):
    """Begun on two, of which one is killed; continued on one device; finished on two."""

    def score_and_kill(network):
        _signal_rank_1(signal.SIGKILL)
        return _score(network)

    folder, two, one = tmp_path / "pieces", varied(tiny, devices=2), varied(tiny)
    first = Watched(two, folder, score_and_kill, ignore)
    with pytest.raises(ReplicaError, match=r"process 2 of 2 .* SIGKILL; .* step 3 of 6") as caught:
        first.run()
    assert classify(caught.value) is Status.died  # a search tries again
    middle = Watched(one, folder, _score, ignore)
    assert middle.progress.step == 3
    assert middle.run(TrainingLimits(max_minutes=1e-9)).reason == "time is up"
    last = Watched(two, folder, _score, ignore)
    assert last.run().reason == "finished"
    assert not [p for p in multiprocessing.active_children() if p.name == "rank1"]

    np.testing.assert_allclose(first.losses, whole.losses[:3], rtol=1e-5)
    assert np.ptp(whole.losses) > 1e-3
    for a, b in zip(whole.progress.history, last.progress.history, strict=True):
        assert a["step"] == b["step"]
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
    _assert_same(whole, last)


def test_a_process_that_is_asked_to_end_asks_all_to_stop(tiny):
    heard = []

    class Listening(OneProcess):
        def agree(self, reason):
            heard.append(reason)
            return reason

    follower = Follower(Listening())
    follower.set_model(compile_model(tiny))
    follower.on_train_batch_end(0)
    assert not follower.model.stop_training
    follower.ask_to_stop(signal.SIGTERM, None)
    follower.on_train_batch_end(1)
    assert follower.model.stop_training
    assert [REASONS[number] for number in heard] == ["", "interrupted"]


def test_a_process_that_fails_says_why(tiny, tmp_path, monkeypatch):
    """The other process finds no such network: its own words come with the error."""
    monkeypatch.setattr("hdsmlm.training.processes.usable_cores", lambda: 2)
    config = varied(tiny, devices=2)
    trainer = Watched(config, tmp_path, _score, ignore)
    broken = config.network.model_copy(update={"widths": (4, 0)})
    trainer.config = config.model_copy(update={"network": broken})
    with pytest.raises(ReplicaError, match=r"process 2 of 2 .* ended: \w*Error: "):
        trainer.run()


class _Dead:
    """A process that has ended with an exit code."""

    def __init__(self, exitcode):
        self.exitcode = exitcode

    def join(self, timeout=None):
        pass


def _other(exitcode, *messages):
    reader, writer = multiprocessing.Pipe(duplex=False)
    for message in messages:
        writer.send(message)
    writer.close()
    return processes._Other(1, 2, _Dead(exitcode), reader)


def test_the_error_of_another_process_is_kept_for_all_who_ask():
    other = _other(1, "ready", "OutOfMemoryError: CUDA out of memory")
    for _ in range(3):  # a pipe gives a message once; the watcher and the main thread both ask
        assert other.cause().endswith("ended: OutOfMemoryError: CUDA out of memory")
    assert _other(-9, "ready").cause().endswith("ended: SIGKILL")
    assert _other(processes.PEER_LOST, "ready").cause() is None
    assert _other(0, "ready").cause() is None
    with pytest.raises(ReplicaError, match="ended: exit code 1"):
        _other(1).wait_until_ready()


def test_a_process_stuck_with_a_dead_one_ends_and_leaves_the_cause(tmp_path, monkeypatch):
    ended, over = threading.Event(), threading.Event()
    codes = []

    def end(code):
        codes.append(code)
        ended.set()
        over.set()

    monkeypatch.setattr(processes, "_STUCK_S", 0.05)
    monkeypatch.setattr(processes.os, "_exit", end)
    monkeypatch.setenv("HDSMLM_LAST_WORDS", str(tmp_path / "words"))
    processes._watch([_other(1, "OutOfMemoryError: CUDA out of memory")], over)
    assert ended.wait(30)
    assert codes == [2]
    words = (tmp_path / "words").read_text()
    assert classify(ReplicaError(words)) is Status.out_of_memory


def test_a_loss_that_is_no_number_ends_the_run(tiny, tmp_path):
    schedule = tiny.training.schedule.model_copy(update={"learning_rate": 0.01})
    config = tiny.model_copy(
        update={"training": tiny.training.model_copy(update={"schedule": schedule})}
    )

    def score(_network):
        return {"loss": float("nan")}

    trainer = Watched(config, tmp_path, score, ignore)
    with pytest.raises(DivergedError, match=r"loss is nan at step 3; lower .*learning_rate"):
        trainer.run()
    assert classify(DivergedError("the loss is nan")) is Status.failed


def test_two_jax_devices_are_one(tmp_path):
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    answer = subprocess.run(
        [sys.executable, str(JAX_PROBE), str(tmp_path)],
        env={**os.environ, **flags, "KERAS_BACKEND": "jax"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    result = json.loads((tmp_path / "answer.json").read_text())
    one, two = result["one"], result["two"]
    assert result["places"] == 2
    assert two["reasons"] == ["time is up", "finished"]
    assert one["steps"] == two["steps"] == [3, 6]
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-5)
    np.testing.assert_allclose(two["weights"], one["weights"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(two["shipped"], one["shipped"], rtol=1e-4, atol=1e-6)
    assert "JAX has 2 here" in result["too_many"]


class _Neighbour(OneProcess):
    """One of several ranks in threads of this process."""

    def __init__(self, rank, board, barrier):
        self.rank, self.ranks = rank, len(board)
        self._board, self._barrier = board, barrier

    def exchange(self, rows):
        self._board[self.rank] = rows
        self._barrier.wait()
        received = np.stack([sent[self.rank] for sent in self._board])
        self._barrier.wait()
        return received


@pytest.mark.parametrize(("ranks", "first_step"), [(2, 0), (2, 3), (3, 1)])
def test_parts_of_the_ranks_are_the_batch_of_one_device(tiny, ranks, first_step):
    size = {"batch_size": 6, "scenes_per_group": 6, "workers": 0}
    config = tiny.model_copy(update={"training": tiny.training.model_copy(update=size)})
    count, parts = 5, {}
    board, barrier = [None] * ranks, threading.Barrier(ranks)

    def feed(rank):
        with SampleFeed(config, first_step, 0, _Neighbour(rank, board, barrier)) as own:
            parts[rank] = list(islice(iter(own), count))

    threads = [threading.Thread(target=feed, args=(rank,)) for rank in range(ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with SampleFeed(config, first_step) as alone:
        batches = list(islice(iter(alone), count))
    for index, batch in enumerate(batches):
        for name in ("frames", "classes", "weights"):
            joined = np.concatenate([getattr(parts[r][index], name) for r in range(ranks)])
            np.testing.assert_array_equal(joined, getattr(batch, name))


def test_samplers_are_shared_evenly(monkeypatch):
    assert [n_samplers(wanted, 3) for wanted in (0, 1, 3, 4)] == [0, 1, 1, 2]
    monkeypatch.setattr(loop, "_trains_on_gpu", lambda: True)
    monkeypatch.setattr(loop, "own_cores", lambda: 6)  # of a machine that other trials share
    assert [n_samplers(None, ranks) for ranks in (1, 2, 4)] == [5, 2, 1]


def test_too_many_devices_are_refused_with_numbers():
    cores = usable_cores()
    if keras.ops.zeros(1).device.type != "cpu":
        pytest.skip("counts GPUs here")
    with pytest.raises(ConfigError, match=rf"devices is {cores + 1}, but .* has {cores} here"):
        open_replicas(cores + 1)


def test_one_device_needs_no_process():
    assert isinstance(open_replicas(1), OneProcess)
    assert not issubclass(TorchProcesses, OneProcess)


def test_a_batch_that_devices_cannot_share_is_refused():
    with pytest.raises(ValueError, match="batch_size 8 cannot be shared evenly by 3 devices"):
        RunConfig.model_validate({"training": {"batch_size": 8, "devices": 3}})
