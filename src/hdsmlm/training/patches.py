"""What the network sees of a scene, whole or cut into patches, with labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.run import RunConfig
from hdsmlm.labels.counts import Labels, count_labels
from hdsmlm.normalization import normalizer_of_array
from hdsmlm.records.emitters import Emitters
from hdsmlm.simulation.scene import Scene


@dataclass(frozen=True)
class LabelledScene:
    """A scene as the network sees it, with its truth.

    Parameters
    ----------
    frames : array of float32, shape (t, y, x)
        Normalized.
    labels : Labels
        Count classes and weights.
    emitters : Emitters
        Truth.
    pixel_size_nm : float
        Side of a pixel.
    doubtful : Emitters or None
        Spots of which it is not known how many emitters they are.
    """

    frames: NDArray[np.float32]
    labels: Labels
    emitters: Emitters
    pixel_size_nm: float
    doubtful: Emitters | None = None


@dataclass(frozen=True)
class Patches:
    """Normalized frames with labels.

    Parameters
    ----------
    frames : array of float32, shape (n, t, y, x)
        In [-1, 1].
    classes : array of uint8, shape (n, t, y, x)
        Count classes.
    weights : array of float32, shape (n, t, y, x)
        0 where a pixel is excluded from learning.
    """

    frames: NDArray[np.float32]
    classes: NDArray[np.uint8]
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.frames)

    def select(self, rows: NDArray[np.intp] | slice) -> Patches:
        """Return some of the patches."""
        return Patches(self.frames[rows], self.classes[rows], self.weights[rows])

    @classmethod
    def joined(cls, parts: Sequence[Patches]) -> Patches:
        """Return all patches of some parts, in their order."""
        return cls(
            np.concatenate([part.frames for part in parts]),
            np.concatenate([part.classes for part in parts]),
            np.concatenate([part.weights for part in parts]),
        )


def labelled(scene: Scene, config: RunConfig) -> LabelledScene:
    """Label and normalize one simulated scene."""
    labels = count_labels(scene.emitters, scene.frames.shape, scene.pixel_size_nm)
    frames = normalizer_of_array(scene.frames, config.normalization)(scene.frames, 0)
    return LabelledScene(frames, labels, scene.emitters, scene.pixel_size_nm)


def patches_of_scene(scene: Scene, config: RunConfig) -> Patches:
    """Label, normalize and cut one scene; its patches share the scene's grey levels."""
    whole, side = labelled(scene, config), config.training.patch_px

    def cut(array: NDArray) -> NDArray:
        t, height, width = array.shape
        tiles = array.reshape(t, height // side, side, width // side, side)
        return np.ascontiguousarray(tiles.transpose(1, 3, 0, 2, 4).reshape(-1, t, side, side))

    return Patches(cut(whole.frames), cut(whole.labels.classes), cut(whole.labels.weights))
