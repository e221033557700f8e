"""A process beside rank 0: takes the same steps on its part of each batch, and writes nothing."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection

import torch

from hdsmlm.config.run import RunConfig
from hdsmlm.errors import HdsmlmError, ReplicaError
from hdsmlm.training.feed import SampleFeed
from hdsmlm.training.loop import Follower, fit, n_samplers
from hdsmlm.training.model import compile_model
from hdsmlm.training.processes import PEER_LOST, READY, Meeting, TorchRank


def follow(
    rank: int, meeting: Meeting, config: RunConfig, first_step: int, owner: Connection
) -> None:
    """Train as one of several processes until rank 0 says stop; ends with rank 0, even if killed.

    Parameters
    ----------
    rank : int
        Number of this process, from 1.
    meeting : Meeting
        Where the others are.
    config : RunConfig
        The run.
    first_step : int
        Optimizer step of the first batch.
    owner : Connection
        Hears that this process is ready, or its error, in words.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches rank 0 too
    threading.Thread(target=_end_with_parent, args=(meeting.folder,), daemon=True).start()
    if meeting.gpus:
        torch.cuda.set_device(rank)
    replicas = TorchRank(rank, meeting.ranks)
    try:
        model = compile_model(config, replicas)
        follower = Follower(replicas)
        signal.signal(signal.SIGTERM, follower.ask_to_stop)
        workers = n_samplers(config.training.workers, replicas.ranks)
        owner.send(READY)
        with (
            replicas.joined(meeting, model),
            SampleFeed(config, first_step, workers, replicas) as feed,
        ):
            fit(model, feed, config, first_step, follower)
    except ReplicaError:
        sys.exit(PEER_LOST)  # rank 0 tells who was lost first
    except Exception as error:
        if not isinstance(error, HdsmlmError):
            traceback.print_exc()
        owner.send(traceback.format_exception_only(error)[-1].strip())
        sys.exit(1)


def _end_with_parent(folder: str) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(1)
