"""Checkpoints: the whole state of a run in one file without pickled objects.

A checkpoint holds the weights, every optimizer variable (moments, step counter, moving average) and
a few numbers as a NumPy archive. Samples are a function of the step alone, so a run that resumes
from it takes the same steps as one that was never stopped.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hdsmlm.errors import BundleError
from hdsmlm.io.writing import atomic_path

FILE = "checkpoint.npz"


@dataclass
class Progress:
    """Numbers of a run that outlive a kill.

    Parameters
    ----------
    step : int
        Optimizer steps done.
    seconds : float
        Training time so far, all pieces together.
    best_loss : float
        Lowest validation loss so far.
    best_step : int
        Step at which it was reached.
    stale : int
        Validations since then.
    tracking_id : str
        Run id at the tracker, so that a resumed run continues the same record.
    history : list of dict
        Validation scores with their step.
    plans : list of [int, int]
        (first step, total steps) of every length that the run was planned with.
    start : dict
        Name, creation time and hash of the model whose weights the run started from, if any.
    """

    step: int = 0
    seconds: float = 0.0
    best_loss: float = float("inf")
    best_step: int = 0
    stale: int = 0
    tracking_id: str = ""
    history: list[dict[str, float]] = field(default_factory=list)
    plans: list[list[int]] = field(default_factory=list)
    start: dict[str, str] = field(default_factory=dict)


def save_checkpoint(path: Path, model: keras.Model, progress: Progress) -> None:
    """Write a checkpoint; the old one stays until the new one is whole."""
    arrays: dict[str, Any] = {}
    for kind, variables in (("weight", model.weights), ("optimizer", model.optimizer.variables)):
        for index, variable in enumerate(variables):
            arrays[f"{kind}_{index:04d}"] = keras.ops.convert_to_numpy(variable.value)
    text = json.dumps(asdict(progress))
    arrays["progress"] = np.frombuffer(text.encode(), dtype=np.uint8)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, **arrays)


def load_checkpoint(path: Path, model: keras.Model) -> Progress:
    """Restore a checkpoint into a compiled model.

    Raises
    ------
    BundleError
        When the file is damaged or belongs to another architecture.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(
            f"{path} is damaged ({error}); delete it to start the run afresh"
        ) from None
    model.optimizer.build(model.trainable_variables)
    for kind, variables in (("weight", model.weights), ("optimizer", model.optimizer.variables)):
        stored = [arrays[name] for name in sorted(arrays) if name.startswith(kind)]
        shapes = [tuple(variable.shape) for variable in variables]
        if [array.shape for array in stored] != shapes:
            raise BundleError(
                f"{path} holds another network or optimizer than the configuration asks for; "
                "choose another output folder, or --overwrite to start afresh"
            )
        for variable, array in zip(variables, stored, strict=True):
            variable.assign(array)
    return Progress(**json.loads(arrays["progress"].tobytes().decode()))
