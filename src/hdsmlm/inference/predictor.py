"""From normalized frames to the count map: padding, tiles, calibration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hdsmlm.bundle import BundleManifest
from hdsmlm.config.prediction import CalibrationConfig
from hdsmlm.inference.engines.port import InferenceEngine
from hdsmlm.inference.windows import Span, pad_frames, padded_size, plan_spans
from hdsmlm.records.count_map import N_CLASSES


class Predictor:
    """Runs an engine over frames of any size.

    Parameters
    ----------
    engine : InferenceEngine
        Runs the network.
    manifest : BundleManifest
        Its strides, receptive field and calibration.
    tile_px : int
        Side that one call of the network answers for.
    """

    def __init__(self, engine: InferenceEngine, manifest: BundleManifest, tile_px: int = 512):
        self.engine = engine
        self.manifest = manifest
        self._tile_px = tile_px

    def predict(
        self, frames: NDArray[np.float32], keep: slice = slice(None)
    ) -> NDArray[np.float32]:
        """Return the count probabilities of some of the frames.

        Parameters
        ----------
        frames : array of float32, shape (t, y, x)
            Normalized to [-1, 1]; the margin of the receptive field in time included.
        keep : slice
            The frames that are answered for.

        Returns
        -------
        array of float32, shape (t of keep, 4, y, x)
        """
        n_frames, height, width = frames.shape
        first, last, _ = keep.indices(n_frames)
        rows, columns = self._axis(height), self._axis(width)
        padded = pad_frames(frames, rows[-1].keep_stop, columns[-1].keep_stop)
        result = np.empty((last - first, N_CLASSES, height, width), dtype=np.float32)
        for row in rows:
            for column in columns:
                tile = padded[
                    None, :, row.read_start : row.read_stop, column.read_start : column.read_stop
                ]
                answer = self.engine.run(tile)[0, first:last, row.inner, column.inner]
                target = result[:, :, row.outer, column.outer]
                target[...] = np.moveaxis(answer, -1, 1)[..., : target.shape[2], : target.shape[3]]
        if self.manifest.calibration.is_pending:
            calibrate(result, self.manifest.calibration)
        return result

    def _axis(self, size: int) -> list[Span]:
        multiple = self.manifest.spatial_multiple
        length = padded_size(size, multiple=multiple, smallest=self.manifest.min_size_px)
        return plan_spans(
            0,
            length,
            length,
            size=self._tile_px,
            margin=self.manifest.receptive_px,
            multiple=multiple,
        )


def calibrate(probabilities: NDArray[np.float32], config: CalibrationConfig) -> None:
    """Correct the confidence in place: ``p' = softmax(log p / temperature + class_bias)``.

    Parameters
    ----------
    probabilities : array of float32, shape (t, 4, y, x)
    config : CalibrationConfig
    """
    smallest = np.float32(np.finfo(np.float32).tiny)
    bias = np.asarray(config.class_bias, dtype=np.float32)[:, None, None]
    for frame in probabilities:
        logits = np.log(np.maximum(frame, smallest)) / np.float32(config.temperature) + bias
        np.exp(logits - logits.max(axis=0), out=frame)
        frame /= frame.sum(axis=0)
