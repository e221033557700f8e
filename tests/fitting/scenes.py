"""Small scenes for the tests of the fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hdsmlm.fitting.likelihood import PoissonData, poisson_data
from hdsmlm.imaging.camera import Camera, EmccdCamera, IdealCamera, ScmosCamera
from hdsmlm.imaging.fisher import EmitterModel, cramer_rao_bound
from hdsmlm.imaging.psf import GaussianPsf, Psf
from hdsmlm.records.emitters import Emitters

PIXEL_NM = 100.0
GAUSSIAN = GaussianPsf(1.3)
IDEAL = IdealCamera(0.9, 1.0, 100.0)
EMCCD = EmccdCamera(0.9, 200.0, 60.0, 0.002, 45.0, 100.0)


def scmos(size: int) -> ScmosCamera:
    """A chip with uneven pixels."""
    rng = np.random.default_rng(9)
    gain = 2.0 * rng.normal(1, 0.02, (size, size))
    noise = gain * 1.6 * np.exp(rng.normal(0, 0.4, (size, size)))
    return ScmosCamera(0.8, gain, rng.normal(100, 2, (size, size)), noise**2, 0.0)


@dataclass(frozen=True)
class Scene:
    """Frames, where their emitters are, and detections near them (emitter_id is the true row)."""

    frame: np.ndarray
    truth: np.ndarray
    data: PoissonData
    found: Emitters


def make_scene(
    psf: Psf,
    camera: Camera,
    frame: np.ndarray,
    truth: np.ndarray,
    *,
    photons: float | np.ndarray,
    shape: tuple[int, int, int],
    background: float = 10.0,
    jitter_px: float = 0.3,
    seed: int = 0,
) -> Scene:
    """Draw emitters at ``truth`` (n, 3)."""
    rng = np.random.default_rng(seed)
    stack = np.full(shape, float(background))
    psf.add_to(stack, frame, truth, np.broadcast_to(photons, len(frame)).astype(float))
    data = poisson_data(camera.sample(stack, rng), camera)
    start = truth[:, :2] + rng.normal(0, jitter_px, (len(frame), 2))
    start = np.clip(start, 0, np.array(shape[:0:-1]) - 0.01) * PIXEL_NM
    columns = {"frame": frame, "x_nm": start[:, 0], "y_nm": start[:, 1]}
    return Scene(frame, truth, data, Emitters({**columns, "emitter_id": np.arange(len(frame))}))


def repeated(
    psf: Psf, camera: Camera, place: np.ndarray, n: int, size: int, *, photons: float, seed: int = 0
) -> Scene:
    """The same emitters (k, 3) in n frames, shifted at random within half a pixel."""
    rng = np.random.default_rng(seed + 1)
    shift = np.zeros((n, 1, 3))
    shift[:, 0, :2] = rng.uniform(-0.5, 0.5, (n, 2))
    truth = (place[None] + shift).reshape(-1, 3)
    frame = np.repeat(np.arange(n), len(place))
    return make_scene(psf, camera, frame, truth, photons=photons, shape=(n, size, size), seed=seed)


def crowded(seed: int, density_um2: float, shape: tuple[int, int, int]) -> Scene:
    """Emitters at random places of EMCCD frames."""
    rng = np.random.default_rng(seed)
    t, height, width = shape
    mean = density_um2 * height * width * (PIXEL_NM / 1000) ** 2
    frame = np.repeat(np.arange(t), rng.poisson(mean, t))
    truth = rng.uniform(0, 1, (len(frame), 3)) * [width, height, 0]
    photons = rng.uniform(800, 3000, len(frame))
    return make_scene(GAUSSIAN, EMCCD, frame, truth, photons=photons, shape=shape, seed=seed)


def bound_nm(
    scene: Scene, psf: Psf, camera: Camera, k: int, size: int, photons: float
) -> np.ndarray:
    """Root mean square Cramér-Rao bound of x and y over the shifts, shape (2,)."""
    n = len(scene.truth) // k
    squares = []
    for place in scene.truth.reshape(n, k, 3)[:: max(n // 40, 1)]:
        model = EmitterModel(place, np.full(k, float(photons)), 10.0)
        bound = cramer_rao_bound(model, psf, camera, (size, size))
        squares.append(np.square(np.stack([bound.x_px, bound.y_px], axis=1)))
    return np.sqrt(np.mean(squares, axis=(0, 1))) * PIXEL_NM


def errors_nm(rows: Emitters, scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Errors of x and y and their ratio to the reported uncertainty, each (n, 2)."""
    rows = rows.select(np.argsort(rows["emitter_id"], kind="stable"))
    found = np.stack([rows["x_nm"], rows["y_nm"]], axis=1)
    error = found - scene.truth[rows["emitter_id"], :2] * PIXEL_NM
    spread = np.stack([rows["uncertainty_x_nm"], rows["uncertainty_y_nm"]], axis=1)
    return error, error / spread
