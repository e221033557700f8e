"""Patches of binned recordings: real light, cut at random places, mirrored and turned.

A sequence keeps its own grey levels, those of its whole field, as a simulated scene does. A short
recording is looked at from random places and in up to eight orientations. The kernel of an
astigmatic PSF tells depth by its orientation; it is mirrored only.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hdsmlm.binning.orientation import turned
from hdsmlm.config.normalization import NormalizationConfig
from hdsmlm.config.training import TrainingConfig
from hdsmlm.errors import ConfigError
from hdsmlm.labels.counts import count_labels
from hdsmlm.normalization import normalizer_of_array
from hdsmlm.records.emitters import Emitters
from hdsmlm.training.patches import LabelledScene, Patches

HELD_OUT_SHARE = 0.1
"""Share of the sequences of a folder that no run learns from. They are other sums of the frames of
the same movie: a check that the run learns, no independent test."""


class BinnedScene(Protocol):
    """One sequence of consecutive binned frames and what is known of them."""

    @property
    def frames(self) -> NDArray[np.uint16]:
        """Grey values, (t, y, x)."""

    @property
    def emitters(self) -> Emitters:
        """Truth; frames count from the start of the sequence."""

    @property
    def doubtful(self) -> Emitters:
        """Spots of which it is not known how many emitters they are."""

    @property
    def pixel_size_nm(self) -> float:
        """Side of a pixel."""


class Sequences(Protocol):
    """A binned recording: sequences of equally many frames."""

    @property
    def n_sequences(self) -> int:
        """Number of sequences."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(t, y, x) of a sequence."""

    @property
    def pixel_size_nm(self) -> float:
        """Side of a pixel."""

    def sequence(self, index: int) -> BinnedScene:
        """Return one sequence."""


def labelled_sequence(
    sequences: Sequences, index: int, normalization: NormalizationConfig
) -> LabelledScene:
    """Return one sequence, whole, as the network sees it."""
    scene = sequences.sequence(index)
    labels = count_labels(scene.emitters, scene.frames.shape, scene.pixel_size_nm, scene.doubtful)
    frames = normalizer_of_array(scene.frames, normalization)(scene.frames, 0)
    return LabelledScene(frames, labels, scene.emitters, scene.pixel_size_nm, scene.doubtful)


class BinnedPatches:
    """Draws patches from some of the sequences of a binned recording.

    Parameters
    ----------
    sequences : Sequences
        The recording.
    rows : array of int
        The sequences to learn from.
    training : TrainingConfig
        Frames and side of a patch.
    normalization : NormalizationConfig
        Grey levels.
    rotate : bool
        Turn by 90 degrees as well as mirror.
    """

    def __init__(
        self,
        sequences: Sequences,
        rows: NDArray[np.intp],
        training: TrainingConfig,
        normalization: NormalizationConfig,
        rotate: bool = True,
    ) -> None:
        self._sequences = sequences
        self._rows = rows
        self._training = training
        self._normalization = normalization
        self._orientations = 8 if rotate else 4

    def draw(self, rng: np.random.Generator) -> Patches:
        """Return as many patches as a simulated scene gives, each from a sequence of its own."""
        down, across = self._training.scene_patches
        return Patches.joined([self._patch(rng) for _ in range(down * across)])

    def _patch(self, rng: np.random.Generator) -> Patches:
        n_frames, side = self._training.frames, self._training.patch_px
        t, height, width = self._sequences.shape
        row = self._rows[rng.integers(len(self._rows))]
        first, top, left = (
            int(rng.integers(size - wanted + 1))
            for size, wanted in ((t, n_frames), (height, side), (width, side))
        )
        orientation = int(rng.integers(self._orientations))
        scene = labelled_sequence(self._sequences, int(row), self._normalization)
        window = (
            slice(first, first + n_frames),
            slice(top, top + side),
            slice(left, left + side),
        )
        frames, classes, weights = (
            turned(array[window], orientation)[None]
            for array in (scene.frames, scene.labels.classes, scene.labels.weights)
        )
        return Patches(frames, classes, weights)


def held_out_rows(n_sequences: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Split sequences into those to learn from and those, the last ones, to score.

    At least one is held out and at least one is left.

    Raises
    ------
    ConfigError
        For a single sequence.
    """
    if n_sequences < 2:
        raise ConfigError(
            f"at least two sequences are needed, one to learn from and one to score, got "
            f"{n_sequences}; bin a longer movie or ask for more sequences"
        )
    kept = min(max(n_sequences - round(HELD_OUT_SHARE * n_sequences), 1), n_sequences - 1)
    rows = np.arange(n_sequences, dtype=np.intp)
    return rows[:kept], rows[kept:]
