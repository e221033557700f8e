"""Conditions under which a simulated movie measures like a given one (indirect inference).

Estimates from dense movies are biased: spots merge, the background rises, a network misses some.
Therefore the estimates are not taken as the truth. The same estimators run on simulated movies, and
each condition is corrected by the ratio of what they find,

``log p ← log p + damping·(log m(movie) - log m(simulated))``,

until both movies measure alike: indirect inference (Gourieroux, Monfort & Renault, J. Appl.
Econometrics 8, S85, 1993). The bias is the same in both, so that it cancels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hdsmlm.config.camera import CameraConfig, EmccdConfig, ScmosConfig
from hdsmlm.config.psf import GaussianPsfConfig
from hdsmlm.estimation.background import TILE_PX, background
from hdsmlm.estimation.camera import CameraEstimate
from hdsmlm.estimation.flicker import flicker
from hdsmlm.estimation.photon_transfer import PhotonTransfer
from hdsmlm.estimation.psf_width import psf_width
from hdsmlm.estimation.sample import MIN_FRAMES, FrameSample, sample_frames
from hdsmlm.estimation.spots import find_spots
from hdsmlm.io.movies import ArrayMovie
from hdsmlm.records.events import Event, Listener, silent
from hdsmlm.simulation.conditions import Conditions
from hdsmlm.simulation.recording import Recording
from hdsmlm.units import density_per_um2

Counter = Callable[[NDArray[np.generic]], float]
"""Emitters per frame that are expected in frames (t, y, x), e.g. by a network's count map."""

ROUNDS = 5
_DAMPING = 0.8
_LARGEST_STEP = 0.7
_SIDE_PX = 128
_PIXELS = 1_200_000
_FRAMES = (80, 300)
_FEWEST_SPOTS = 30
_SEED = 3_000_000_037
_TYPICAL_ON_FRAMES = 2.0
_PARTS = 5


@dataclass(frozen=True)
class Likeness:
    """What the conditions are corrected by; measured alike on real and simulated movies.

    Parameters
    ----------
    density_per_um2 : float
        Emitters that are on, by the counter.
    light_photons : float
        Root mean square light of an emitter, from flicker and count; relative.
    background_photons : float
        Mean per pixel and frame.
    sigma_px : float
        Width of what flickers.
    on_frames : float or None
        Mean on-time.
    relief : float
        Relative standard deviation of the background between tiles of 8 px.
    """

    density_per_um2: float
    light_photons: float
    background_photons: float
    sigma_px: float
    on_frames: float | None
    relief: float


@dataclass(frozen=True)
class Ruler:
    """What is held fixed while movies are measured.

    Parameters
    ----------
    camera : CameraEstimate
        Turns grey values into photons.
    line : PhotonTransfer
        The camera's noise.
    pixel_size_nm : float
        Pixel in the sample.
    count : Counter or None
        Counts emitters; None counts spots.
    """

    camera: CameraEstimate
    line: PhotonTransfer
    pixel_size_nm: float
    count: Counter | None

    def measure(self, sample: FrameSample, frames: NDArray[np.generic]) -> Likeness:
        """Measure a movie by its sample, and count in ``frames`` (t, y, x)."""
        smeared = self.line.smear_axis if self.line.smear > 1 else None
        width = psf_width(sample, smeared)
        ground = background(sample, self.line)
        per_photon = self.camera.gain_adu_per_e.value * self.camera.quantum_efficiency.value
        photons = max(self.camera.photons(ground.mean_adu), 0.05)
        found = flicker(sample, width.sigma_px)
        if self.count is not None:
            per_frame, shape = self.count(frames), frames.shape[1:]
        else:
            spots = find_spots(sample, self.line, ground, width.sigma_px)
            per_frame, shape = len(spots) / spots.n_frames, sample.shape
        per_frame = max(per_frame, 0.01)
        per_pixel = per_frame / (shape[0] * shape[1])
        relief = float(ground.tiles_adu.std()) / per_photon / photons
        return Likeness(
            density_per_um2=density_per_um2(per_frame, shape[0], shape[1], self.pixel_size_nm),
            light_photons=max(np.sqrt(found.covariance_adu2 / per_pixel) / per_photon, 0.1),
            background_photons=photons,
            sigma_px=width.sigma_px,
            on_frames=found.on_frames,
            relief=max(relief, 1e-3),
        )


def like_conditions(
    target: Likeness, ruler: Ruler, sample: FrameSample, listener: Listener = silent
) -> Conditions:
    """Return conditions whose simulated movie measures like ``target``.

    Parameters
    ----------
    target : Likeness
        Measured on the movie.
    ruler : Ruler
        The same that measured it.
    sample : FrameSample
        The movie's frames; gives the size, and the brightness to start from.
    """
    conditions = _start(target, ruler, sample)
    shape = tuple(min(side, _SIDE_PX) for side in sample.shape)
    n_frames = int(np.clip(_PIXELS // (shape[0] * shape[1]), *_FRAMES))
    history = []
    for number in range(ROUNDS):
        listener(Event("like", number, ROUNDS, "simulating", unit="rounds"))
        recording = Recording(conditions, (shape[0], shape[1]), (_SEED, number))
        frames, _ = recording.read(n_frames)
        found = ruler.measure(sample_frames(ArrayMovie(frames)), frames)
        conditions = _corrected(conditions, target, found)
        history.append(conditions)
    listener(Event("like", ROUNDS, ROUNDS, "done", unit="rounds"))
    return _mean(history[-3:])


def _start(target: Likeness, ruler: Ruler, sample: FrameSample) -> Conditions:
    ground = background(sample, ruler.line)
    spots = find_spots(sample, ruler.line, ground, target.sigma_px)
    per_photon = ruler.camera.gain_adu_per_e.value * ruler.camera.quantum_efficiency.value
    signal = spots.signal_adu[spots.isolated] / per_photon
    bright = float(np.median(signal)) if len(signal) >= _FEWEST_SPOTS else target.light_photons
    return Conditions(
        density_per_um2=target.density_per_um2,
        pixel_size_nm=ruler.pixel_size_nm,
        psf=GaussianPsfConfig(sigma_px=float(np.clip(target.sigma_px, 0.35, 5.9))),
        sigma_spread=0.03,
        z_range_nm=0.0,
        camera=without_maps(ruler.camera.config),
        photons=max(bright, 1.0),
        rate_spread=0.3,
        mean_on_frames=target.on_frames or _TYPICAL_ON_FRAMES,
        mean_off_frames=30.0,
        blinks_per_molecule=2.0,
        min_fraction=0.02,
        structure="uniform",
        structured_share=0.0,
        max_local_density_per_um2=20.0,
        background_photons=target.background_photons,
        background_structure=float(np.clip(target.relief, 0.0, 1.0)),
        background_scale_px=_scale_px(ground.tiles_adu),
        bleached_share=0.0,
        bleaching_frames=10000.0,
    )


def without_maps(camera: CameraConfig) -> CameraConfig:
    """Return a camera with one number for all pixels: maps fit only frames of their own size."""
    if not isinstance(camera, ScmosConfig):
        return camera
    return camera.model_copy(update=dict.fromkeys(("gain_map", "offset_map", "variance_map")))


def _corrected(conditions: Conditions, target: Likeness, found: Likeness) -> Conditions:
    def step(value: float, wanted: float, came: float, ends: tuple[float, float]) -> float:
        change = np.clip(_DAMPING * np.log(wanted / came), -_LARGEST_STEP, _LARGEST_STEP)
        return float(np.clip(value * np.exp(change), *ends))

    psf = conditions.psf
    if not isinstance(psf, GaussianPsfConfig):
        raise TypeError(f"a Gaussian PSF was wanted, got {psf.kind}")
    on_frames = conditions.mean_on_frames
    if target.on_frames is not None and found.on_frames is not None:
        on_frames = step(on_frames, target.on_frames, found.on_frames, (0.2, 100))
    names = ("density_per_um2", "background_photons")
    change = {
        name: step(
            getattr(conditions, name), getattr(target, name), getattr(found, name), (1e-3, 1e5)
        )
        for name in names
    }
    change["photons"] = step(
        conditions.photons, target.light_photons, found.light_photons, (1, 1e6)
    )
    change["mean_on_frames"] = on_frames
    change["background_structure"] = step(
        max(conditions.background_structure, 0.01), target.relief, found.relief, (0.0, 1.0)
    )
    sigma = step(psf.sigma_px, target.sigma_px, found.sigma_px, (0.35, 5.9))
    return conditions.model_copy(
        update={**change, "psf": psf.model_copy(update={"sigma_px": sigma})}
    )


def _mean(history: list[Conditions]) -> Conditions:
    """Return the geometric mean of the last rounds: their scatter is that of the simulations."""

    def mean(values: list[float]) -> float:
        return float(np.exp(np.mean(np.log(np.maximum(values, 1e-9)))))

    names = (
        "density_per_um2",
        "photons",
        "background_photons",
        "mean_on_frames",
        "background_structure",
    )
    change: dict[str, object] = {
        name: mean([getattr(conditions, name) for conditions in history]) for name in names
    }
    widths = [c.psf.sigma_px for c in history if isinstance(c.psf, GaussianPsfConfig)]
    change["psf"] = GaussianPsfConfig(sigma_px=mean(widths))
    return history[-1].model_copy(update=change)


def _scale_px(tiles_adu: NDArray[np.float64]) -> float:
    """Return the width of the background's structures: neighbours correlate as exp(-r²/4s²)."""
    centred = tiles_adu - tiles_adu.mean()
    if min(tiles_adu.shape) < 3 or not centred.any():
        return 20.0
    ahead = (centred[1:] * centred[:-1]).mean() + (centred[:, 1:] * centred[:, :-1]).mean()
    correlation = float(np.clip(0.5 * ahead / (centred**2).mean(), 0.02, 0.99))
    return float(np.clip(TILE_PX / (2 * np.sqrt(-np.log(correlation))), 8.0, 60.0))


@dataclass(frozen=True)
class Fading:
    """How the background falls.

    Parameters
    ----------
    lost : float
        Share that is lost from the first to the last frames.
    start : float
        Level of the first frames over the level that the whole sample shows.
    """

    lost: float
    start: float


def fading(sample: FrameSample, line: PhotonTransfer, camera: CameraEstimate) -> Fading:
    """Compare the first frames of a sample, a fifth of it at most, with its last ones and all."""
    first_run, last_run = sample.runs[0], sample.runs[-1]
    length = min(len(first_run), sum(len(run) for run in sample.runs) // _PARTS)
    if length < MIN_FRAMES:
        return Fading(0.0, 1.0)

    def level(*runs: NDArray[np.float32]) -> float:
        part = dataclasses.replace(sample, runs=runs)
        levels = [camera.photons(float(adu)) for adu in background(part, line).runs_adu]
        return max(float(np.mean(levels)), 1e-3)

    first, last = level(first_run[:length]), level(last_run[-length:])
    return Fading(float(np.clip(1 - last / first, 0.0, 1.0)), first / level(*sample.runs))


def camera_ranges(camera: CameraConfig) -> tuple[str, dict[str, object]]:
    """Return the kind of a camera and its section of ranges, each of zero width."""
    values = camera.model_dump(exclude={"kind", "map_seed"}, exclude_none=True, mode="json")
    if isinstance(camera, (EmccdConfig, ScmosConfig)):
        return camera.kind, values
    # the ranges know no gain of an ideal camera: an sCMOS chip without any read noise is one
    same = {"read_noise_e": 0.0, "dark_e": 0.0, "gain_spread": 0.0, "read_noise_spread": 0.0}
    return "scmos", {**values, **same, "baseline_spread_adu": 0.0, "hot_pixel_fraction": 0.0}
