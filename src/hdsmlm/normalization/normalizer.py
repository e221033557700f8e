"""Percentile clip and linear scaling to [-1, 1]; one object for training and prediction.

``u = 2 · (clip(v, low, high) - low) / (high - low) - 1``

with ``low`` and ``high`` the 20th and 99th percentile (configurable) of the movie's pixel values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.normalization import NormalizationConfig
from hdsmlm.normalization.percentiles import IntensityHistogram
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.records.movie import MovieReader, frame_blocks


@dataclass(frozen=True)
class Normalizer:
    """The levels of a movie: one pair, or one pair per step of a sliding window.

    Parameters
    ----------
    low, high : array of float64, shape (n_steps,)
        Grey values that become -1 and +1.
    step_frames : int
        Frames that share one pair; levels of frame t are ``low[min(t // step_frames, n_steps-1)]``.

    Examples
    --------
    >>> normalize = Normalizer(np.array([100.0]), np.array([300.0]), step_frames=1)
    >>> normalize(np.array([[[50, 100, 200, 900]]], dtype=np.uint16), 0)[0, 0].tolist()
    [-1.0, -1.0, 0.0, 1.0]
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    step_frames: int = 1

    def levels(self, first_frame: int, n_frames: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return (low, high), each of shape (n_frames,), for consecutive frames."""
        steps = (first_frame + np.arange(n_frames)) // self.step_frames
        steps = np.minimum(steps, len(self.low) - 1)
        return self.low[steps], self.high[steps]

    def __call__(self, frames: NDArray[np.generic], first_frame: int) -> NDArray[np.float32]:
        """Normalize ``frames`` (t, y, x), the first of which is the movie's ``first_frame``."""
        low, high = self.levels(first_frame, len(frames))
        low32 = low.astype(np.float32)[:, None, None]
        scale = (2.0 / (high - low)).astype(np.float32)[:, None, None]
        scaled = frames.astype(np.float32)
        scaled -= low32
        scaled *= scale
        scaled -= np.float32(1.0)
        return np.clip(scaled, -1.0, 1.0, out=scaled)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "low": self.low.tolist(),
            "high": self.high.tolist(),
            "step_frames": self.step_frames,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Normalizer:
        """Inverse of :meth:`to_dict`."""
        return cls(
            np.asarray(values["low"]), np.asarray(values["high"]), int(values["step_frames"])
        )


AUTO_WINDOW_FRAMES = 100
"""Length of the window that ``"auto"`` takes where the grey levels drift."""

DRIFT_SHARE = 0.25
"""Change of a level, relative to the span of both, from which on they count as drifting."""


def levels_of(histogram: IntensityHistogram, config: NormalizationConfig) -> tuple[float, float]:
    """Return (low, high) of a histogram; a flat movie gets a span of one grey value."""
    low = histogram.percentile(config.low_percentile)
    high = histogram.percentile(config.high_percentile)
    return low, max(high, low + 1e-6 * max(1.0, abs(low)) if high > low else low + 1.0)


def normalizer_of_array(frames: NDArray[np.generic], config: NormalizationConfig) -> Normalizer:
    """Return the normalizer of a 16-bit recording that is in memory (training scenes)."""
    histogram = IntensityHistogram()
    histogram.add(frames)
    low, high = levels_of(histogram, config)
    return Normalizer(np.array([low]), np.array([high]))


def fit_normalizer(
    reader: MovieReader, config: NormalizationConfig, listener: Listener = silent
) -> Normalizer:
    """Stream a movie once and return its normalizer.

    With ``config.window_frames`` the levels follow the movie: every quarter of a window they are
    taken afresh from the window centred there. With ``"auto"`` they do so over
    :data:`AUTO_WINDOW_FRAMES` frames if somewhere the levels of half a window differ from those of
    the whole movie by more than :data:`DRIFT_SHARE` of their span; so it is where a field bleaches.

    Raises
    ------
    MovieError
        When the movie has no frames or cannot be read.
    """
    n_frames = reader.info.n_frames
    histogram_of = _histogram_factory(reader)
    window = config.window_frames
    if window == "auto":
        drifts = n_frames > AUTO_WINDOW_FRAMES and _drifts(reader, config, histogram_of, listener)
        window = AUTO_WINDOW_FRAMES if drifts else None
    if window is None or window >= n_frames:
        histogram = histogram_of()
        for start, stop in frame_blocks(reader.info, 0, n_frames):
            histogram.add(reader.read(start, stop))
            listener(Event("normalize", stop, n_frames, "grey levels"))
        low, high = levels_of(histogram, config)
        return Normalizer(np.array([low]), np.array([high]), step_frames=n_frames)
    return _sliding(reader, config, window, histogram_of, listener)


def _drifts(
    reader: MovieReader, config: NormalizationConfig, histogram_of: Any, listener: Listener
) -> bool:
    n_frames, step = reader.info.n_frames, AUTO_WINDOW_FRAMES // 2
    whole = histogram_of()
    parts = []
    for start in range(0, n_frames - step + 1, step):  # a short rest has too few pixels to judge
        part = histogram_of()
        _each_block(reader, start, start + step, part.add)
        whole.merge(part)
        parts.append(levels_of(part, config))
        listener(Event("normalize", start + step, n_frames, "do the grey levels drift?"))
    low, high = levels_of(whole, config)
    return bool(np.abs(np.array(parts) - (low, high)).max() > DRIFT_SHARE * (high - low))


def _sliding(
    reader: MovieReader,
    config: NormalizationConfig,
    window: int,
    histogram_of: Any,
    listener: Listener,
) -> Normalizer:
    n_frames, step = reader.info.n_frames, max(1, window // 4)
    histogram = histogram_of()
    lows, highs = [], []
    start = stop = 0
    for centre in range(step // 2, n_frames + step // 2, step):
        wanted_start = int(np.clip(centre - window // 2, 0, n_frames - window))
        wanted_stop = wanted_start + window
        if wanted_stop > stop:
            _each_block(reader, stop, wanted_stop, histogram.add)
        if wanted_start > start:
            _each_block(reader, start, wanted_start, histogram.remove)
        start, stop = wanted_start, wanted_stop
        low, high = levels_of(histogram, config)
        lows.append(low)
        highs.append(high)
        listener(Event("normalize", stop, n_frames, "grey levels, sliding window"))
    return Normalizer(np.array(lows), np.array(highs), step_frames=step)


def _each_block(
    reader: MovieReader, start: int, stop: int, take: Callable[[NDArray[np.generic]], None]
) -> None:
    for low, high in frame_blocks(reader.info, start, stop):
        take(reader.read(low, high))


def _histogram_factory(reader: MovieReader) -> Any:
    """Return a maker of empty histograms whose bins fit the movie's dtype."""
    if np.dtype(reader.info.dtype) in (np.dtype(np.uint8), np.dtype(np.uint16)):
        return IntensityHistogram
    low, high = np.inf, -np.inf
    for start, stop in frame_blocks(reader.info, 0, reader.info.n_frames):
        block = reader.read(start, stop)
        low, high = min(low, float(block.min())), max(high, float(block.max()))
    return lambda: IntensityHistogram(low, high)
