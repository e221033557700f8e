"""Run with two virtual JAX devices: one run on one device, one on two with a stop in between."""

import json
import sys
from pathlib import Path

import jax
import keras
import numpy as np
from watched import Watched, ignore, varied

from conftest import TINY
from hdsmlm.config.base import parse_section
from hdsmlm.config.run import RunConfig
from hdsmlm.errors import ConfigError
from hdsmlm.training.parallel import JaxMesh
from hdsmlm.training.trainer import TrainingLimits

FRAMES = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16)).astype(np.float32)


def _score(network):
    return {"loss": float(-np.log(network(FRAMES)[:, 0]).mean())}


def _train(config, folder, pieces):
    folder.mkdir()
    reasons, losses = [], []
    for limit in pieces:
        trainer = Watched(config, folder, _score, ignore)
        outcome = trainer.run(TrainingLimits(limit))
        reasons.append(outcome.reason)
        losses.append(trainer.losses)
    shipped = trainer.finished(outcome)
    weights = [keras.ops.convert_to_numpy(w.value).ravel() for w in trainer.model.weights]
    history = trainer.progress.history
    return trainer, {
        "reasons": reasons,
        "steps": [entry["step"] for entry in history],
        "losses": [*losses[0][:1], *(entry["loss"] for entry in history)],
        "weights": np.concatenate(weights).tolist(),
        "shipped": shipped(FRAMES).ravel()[:50].tolist(),
    }


def main(target):
    """Write what came of both runs."""
    folder = Path(target)
    tiny = parse_section(RunConfig, TINY, "tiny")
    _, one = _train(varied(tiny), folder / "one", [None])
    trainer, two = _train(varied(tiny, devices=2), folder / "two", [1e-9, None])
    variable = trainer.model.trainable_variables[0].value
    assert isinstance(variable, jax.Array)
    try:
        JaxMesh(3)
    except ConfigError as error:
        too_many = str(error)
    places = len(variable.sharding.device_set)
    answer = {"one": one, "two": two, "places": places, "too_many": too_many}
    (folder / "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1])
