"""Windows of a movie for the fit: frames in photo-electrons, count map, detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.prediction import DecodingConfig
from hdsmlm.errors import MovieError
from hdsmlm.fitting.likelihood import poisson_data
from hdsmlm.fitting.stitching import FrameSpan
from hdsmlm.fitting.tiles import WindowData
from hdsmlm.imaging.camera import MAX_ADU, Camera
from hdsmlm.inference.decode import decode
from hdsmlm.inference.predictor import Predictor
from hdsmlm.normalization import Normalizer
from hdsmlm.pipelines.watching import Watcher
from hdsmlm.records.movie import MovieReader


@dataclass
class WindowSource:
    """Gives windows of a movie: each frame is predicted once, whatever was finished before.

    Parameters
    ----------
    reader : MovieReader
        The movie.
    spans : sequence of FrameSpan
        All windows of the run.
    predictor : Predictor
        The network.
    normalizer : Normalizer
        Grey levels of the movie.
    camera : Camera
        Its camera.
    decoding : DecodingConfig
        From count map to detections.
    pixel_size_nm : float
        Side of a pixel.
    saturation_adu : float, optional
        Grey value from which a pixel is saturated; None is 65535 in a movie of 16 bits.
    watcher : Watcher, optional
        Sees the count maps.
    """

    reader: MovieReader
    spans: Sequence[FrameSpan]
    predictor: Predictor
    normalizer: Normalizer
    camera: Camera
    decoding: DecodingConfig
    pixel_size_nm: float
    saturation_adu: float | None = None
    watcher: Watcher | None = None
    _maps: dict[int, NDArray[np.float32]] = field(default_factory=dict)

    def window(self, index: int) -> WindowData:
        """Return a window; those before it are no longer needed then."""
        span = self.spans[index]
        near = [
            k
            for k, other in enumerate(self.spans)
            if other.core_start < span.stop and other.core_stop > span.start
        ]
        parts = []
        for k in near:
            core = self.spans[k]
            low, high = max(span.start, core.core_start), min(span.stop, core.core_stop)
            parts.append(self._map(k)[low - core.core_start : high - core.core_start])
        self._maps = {k: kept for k, kept in self._maps.items() if k >= near[0]}
        count_map = np.concatenate(parts)
        frames = self.reader.read(span.start, span.stop)
        if not np.isfinite(frames).all():
            raise MovieError(
                f"{self.reader.info.name}: frames {span.start} to {span.stop - 1} hold values that "
                "are not numbers; leave these frames out with --frames, or repair the movie"
            )
        return WindowData(
            data=poisson_data(frames, self.camera),
            saturated=np.greater_equal(frames, self.saturation_adu or _largest(frames)),
            count_map=count_map,
            detections=decode(
                count_map, self.decoding, pixel_size_nm=self.pixel_size_nm, first_frame=0
            ),
        )

    def _map(self, index: int) -> NDArray[np.float32]:
        """Return the count map of a core, predicted in the same piece every time."""
        if index not in self._maps:
            span = self.spans[index]
            margin = self.predictor.manifest.receptive_frames
            start = max(0, span.core_start - margin)
            stop = min(self.reader.info.n_frames, span.core_stop + margin)
            frames = self.normalizer(self.reader.read(start, stop), start)
            inner = slice(span.core_start - start, span.core_stop - start)
            self._maps[index] = self.predictor.predict(frames, inner)
            if self.watcher is not None:
                self.watcher.count_map(span.core_start, self._maps[index])
        return self._maps[index]


def _largest(frames: NDArray[np.generic]) -> float:
    """Return the largest grey value that the movie's type can hold."""
    return MAX_ADU if frames.dtype.kind == "u" and frames.dtype.itemsize == 2 else np.inf
