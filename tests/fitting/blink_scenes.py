"""Movies of blinks for the tests of the space-time fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hdsmlm.config.spacetime import SpaceTimeConfig
from hdsmlm.fitting import blink_kernels as kernels
from hdsmlm.fitting.blink_table import blink_rows
from hdsmlm.fitting.likelihood import PoissonData, poisson_data
from hdsmlm.fitting.psf_kernels import fittable_psf
from hdsmlm.fitting.spacetime import Detections, _State, fit_window
from hdsmlm.imaging.camera import Camera, EmccdCamera
from hdsmlm.imaging.psf import Psf
from hdsmlm.records.emitters import Emitters

PIXEL_NM = 100.0
EMCCD = EmccdCamera(0.9, 200.0, 60.0, 0.002, 45.0, 100.0)
CONFIG = SpaceTimeConfig()


@dataclass(frozen=True)
class Scene:
    """A movie of known blinks: places (n, 3) in px, px, nm; frames first..last; detections."""

    psf: Psf
    data: PoissonData
    places: np.ndarray
    first: np.ndarray
    last: np.ndarray
    found: Detections

    def fit(self, config: SpaceTimeConfig = CONFIG) -> Emitters:
        fittable = fittable_psf(self.psf)
        fit = fit_window(self.data, fittable, self.found, config)
        return blink_rows(fit, fittable, PIXEL_NM, 0.5)


def movie_of(
    psf: Psf,
    places: np.ndarray,
    spans: np.ndarray,
    photons: float | np.ndarray,
    shape: tuple[int, int, int],
    *,
    camera: Camera = EMCCD,
    background: float = 10.0,
    jitter_px: float = 0.15,
    seed: int = 0,
) -> Scene:
    """Draw blinks that are on in the frames spans[:, 0] to spans[:, 1], both included."""
    rng = np.random.default_rng(seed)
    lengths = spans[:, 1] - spans[:, 0] + 1
    owner = np.repeat(np.arange(len(places)), lengths)
    frame = np.concatenate([np.arange(a, b + 1) for a, b in spans]) if len(spans) else owner
    stack = np.full(shape, background)
    light = np.broadcast_to(photons, len(places)).astype(float)[owner]
    psf.add_to(stack, frame, places[owner], light)
    data = poisson_data(camera.sample(stack, rng), camera)
    near = places[owner, :2] + rng.normal(0, jitter_px, (len(owner), 2))
    order = np.argsort(frame, kind="stable")
    found = Detections(frame[order].astype(np.int64), near[order, 0], near[order, 1])
    return Scene(psf, data, places, spans[:, 0], spans[:, 1], found)


def blink_scene(
    psf: Psf, *, seed: int, density: float = 0.008, shape: tuple[int, int, int] = (10, 32, 40)
) -> Scene:
    """Blinks at random places; ``density`` per pixel and frame."""
    rng = np.random.default_rng(seed)
    n = max(int(density * np.prod(shape) / 2), 3)
    first = rng.integers(0, shape[0], n)
    last = np.minimum(first + rng.geometric(0.5, n) - 1, shape[0] - 1)
    places = rng.uniform(0, 1, (n, 3)) * [shape[2], shape[1], 0]
    return movie_of(psf, places, np.stack([first, last], 1), 2000.0, shape, seed=seed)


def state_of(scene: Scene, config: SpaceTimeConfig = CONFIG) -> _State:
    """The fit before its first round."""
    return _State(scene.data, fittable_psf(scene.psf), scene.found, config, None)


def redrawn(state: _State) -> np.ndarray:
    """Background and the light of all living blinks, drawn afresh."""
    model = state.window.scale * state.background.image + state.offset
    kernels.draw_all(state.window._replace(model=model), state.blinks, state.n)
    return model
