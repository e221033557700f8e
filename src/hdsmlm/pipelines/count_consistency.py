"""Do counts add up: the count of a sum of frames against the sum of the frames' counts.

A check on real movies that needs no truth: n sparse frames are easy, their sum is dense, and a
model that counts well finds in the sum what it found in the parts. It says nothing of emitters that
the model misses in both.
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.binning.folder import FolderSequences
from hdsmlm.binning.plan import PlanRules, draw_sum
from hdsmlm.bundle import Bundle
from hdsmlm.config.prediction import EngineName, Precision
from hdsmlm.errors import MovieError
from hdsmlm.inference.engines import build_engine
from hdsmlm.inference.predictor import Predictor
from hdsmlm.io.movies import open_movie
from hdsmlm.normalization import Normalizer, fit_normalizer, normalizer_of_array
from hdsmlm.records.count_map import expected_count
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.records.movie import MovieReader
from hdsmlm.records.provenance import file_sha256

MAX_SEQUENCES = 20
"""Dense sequences that are compared, the first ones of the folder."""


@dataclass(frozen=True)
class CountConsistency:
    """Expected counts of dense frames and of the sparse frames that they are made of.

    Parameters
    ----------
    binned, summed : array, shape (n_frames,)
        Expected emitters in each dense frame, and the sum over its sparse frames.
    """

    binned: NDArray[np.float64]
    summed: NDArray[np.float64]

    @property
    def ratio(self) -> float:
        """Mean count of the dense frames over that of their parts; 1 is consistent."""
        return float(self.binned.mean() / max(self.summed.mean(), np.finfo(float).tiny))

    @property
    def error(self) -> float:
        """Mean absolute difference per frame, relative to the mean sum of the parts."""
        difference = np.abs(self.binned - self.summed).mean()
        return float(difference / max(self.summed.mean(), np.finfo(float).tiny))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, rounded."""
        return {
            "n_frames": len(self.binned),
            "mean_of_parts": round(float(self.summed.mean()), 4),
            "mean_of_sums": round(float(self.binned.mean()), 4),
            "ratio": round(self.ratio, 5),
            "error": round(self.error, 5),
        }


def compare_counts(
    bundle: Bundle,
    folder: Path,
    origin: Path,
    engine: EngineName = "auto",
    precision: Precision = "f32",
    listener: Listener = silent,
) -> CountConsistency:
    """Predict dense sequences and the sparse ones that they are made of.

    Parameters
    ----------
    bundle : Bundle
        The model.
    folder : Path
        What ``hdsmlm bin`` wrote.
    origin : Path
        The sparse movie that it was made from.
    engine, precision : str
        How the network is run.
    listener : callable
        Hears the progress.

    Raises
    ------
    MovieError
        When ``origin`` is not the movie that the folder was made from.
    ConfigError
        When the folder is missing or damaged.
    """
    sequences = FolderSequences(folder)
    predictor = Predictor(build_engine(engine, bundle, precision=precision), bundle.manifest)
    n = min(MAX_SEQUENCES, sequences.n_sequences)
    binned, summed = [], []
    with closing(open_movie(origin)) as reader:
        _check_origin(reader, sequences, origin)
        rules = rules_of(sequences, reader)
        levels = fit_normalizer(reader, bundle.manifest.normalization)
        for index in range(n):
            frames = sequences.sequence(index).frames
            normalize = normalizer_of_array(frames, bundle.manifest.normalization)
            binned.append(_counts(predictor, normalize(frames, 0)))
            summed.append(
                _counts_of_parts(
                    predictor, reader, levels, rules, int(sequences.facts["seed"]), index
                )
            )
            listener(Event("score", index + 1, n, "counts of the parts", "sequences"))
    return CountConsistency(np.concatenate(binned), np.concatenate(summed))


def rules_of(sequences: FolderSequences, reader: MovieReader) -> PlanRules:
    """Return the rules by which the summands of a folder were drawn."""
    facts, info = sequences.facts, reader.info
    return PlanRules(
        info.n_frames,
        info.height,
        info.width,
        int(facts["factor"]),
        int(facts["sequence_frames"]),
        int(facts["lag_frames"]),
        sequences.shape[1] if facts["augment"] else None,
        bool(facts.get("rotate", not sequences.astigmatic)),
    )


def _counts(predictor: Predictor, frames: NDArray[np.float32]) -> NDArray[np.float64]:
    expected = expected_count(predictor.predict(frames))
    return np.asarray(expected.sum(axis=(1, 2), dtype=np.float64))


def _counts_of_parts(
    predictor: Predictor,
    reader: MovieReader,
    levels: Normalizer,
    rules: PlanRules,
    seed: int,
    index: int,
) -> NDArray[np.float64]:
    """Sum the expected counts of the summands, each within its cut-out."""
    height, width = rules.shape
    total = np.zeros(rules.sequence_frames)
    for part in draw_sum(rules, seed, index):
        frames = reader.read(part.start, part.start + rules.sequence_frames)
        expected = expected_count(predictor.predict(levels(frames, part.start)))
        cut = expected[:, part.top : part.top + height, part.left : part.left + width]
        total += cut.sum(axis=(1, 2), dtype=np.float64)
    return total


def _check_origin(reader: MovieReader, sequences: FolderSequences, origin: Path) -> None:
    hashes = sorted(file_sha256(path) for path in reader.info.paths)
    digest = hashlib.sha256("".join(hashes).encode()).hexdigest()
    if digest != sequences.facts["source_sha256"]:
        raise MovieError(
            f"{origin} is not the movie that the binned folder was made from (SHA-256 differs); "
            "give the sparse movie itself"
        )
