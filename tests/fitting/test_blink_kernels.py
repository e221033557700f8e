"""Arithmetic of a blink: derivatives, and the model image after any step."""

from __future__ import annotations

import numpy as np
import pytest
from blink_scenes import blink_scene, redrawn, state_of

from hdsmlm.fitting import blink_kernels as kernels
from hdsmlm.fitting.psf_kernels import SHAPE, X, Y
from hdsmlm.imaging.psf import AstigmaticPsf, GaussianPsf


def log_likelihood(counts: np.ndarray, model: np.ndarray) -> float:
    return float((counts * np.log(model) - model).sum())


@pytest.mark.parametrize(
    "psf", [GaussianPsf(1.3), AstigmaticPsf(1.3, 250.0, 400.0)], ids=["2d", "3d"]
)
def test_score_and_information_are_derivatives(psf) -> None:
    """Score: slope of the likelihood by place; u: by photons; photons are eliminated rightly."""
    state = state_of(blink_scene(psf, seed=1))
    window, blinks = state.window, state.blinks
    side = 2 * window.half + 1
    scratch, patch, stats = np.empty((2, 3, side)), np.empty((4, side, side)), np.empty(14)
    t, dims = int(blinks.first[0]), window.dims

    def statistics() -> np.ndarray:
        box = kernels.corner(blinks.place[0], window.half, *window.model.shape[1:])
        part = kernels.draw_patch(window.kernel, blinks.place[0], box, scratch, patch)
        kernels.frame_statistics(
            window.counts, window.model, part, box, t, window.scale, dims, stats
        )
        return stats.copy()

    def slope(array: np.ndarray, column: int, step: float) -> float:
        values = []
        for sign in (1, -1):
            kernels.draw(window, blinks, 0, -1.0, scratch, patch)
            array[column] += sign * step
            kernels.draw(window, blinks, 0, 1.0, scratch, patch)
            values.append(log_likelihood(window.counts[t], window.model[t]))
            kernels.draw(window, blinks, 0, -1.0, scratch, patch)
            array[column] -= sign * step
            kernels.draw(window, blinks, 0, 1.0, scratch, patch)
        return (values[0] - values[1]) / (2 * step)

    found = statistics()
    photons = float(blinks.photons[0, t])
    assert found[kernels.U] == pytest.approx(slope(blinks.photons[0], t, 0.5), rel=1e-3, abs=1e-6)
    for i, column in enumerate((X, Y, SHAPE)[:dims]):
        step = 1e-3 if i < 2 else 1.0
        by_hand = slope(blinks.place[0], column, step)
        assert photons * found[11 + i] == pytest.approx(by_hand, rel=2e-3, abs=1e-3)
    info, score = np.zeros((3, 3)), np.zeros(3)
    kernels.place_information(found, photons, dims, info, score)
    full = np.zeros((dims + 1, dims + 1))  # photons first; eliminated by the Schur complement
    full[0, 0] = found[kernels.A]
    full[0, 1:] = full[1:, 0] = photons * found[2 : 2 + dims]
    pairs = {(0, 0): 5, (1, 1): 6, (2, 2): 7, (0, 1): 8, (0, 2): 9, (1, 2): 10}
    for (i, j), k in pairs.items():
        if j < dims:
            full[1 + i, 1 + j] = full[1 + j, 1 + i] = photons**2 * found[k]
    np.testing.assert_allclose(
        np.linalg.inv(full)[1:, 1:], np.linalg.inv(info[:dims, :dims]), rtol=1e-6
    )


def test_solve_agrees_with_numpy() -> None:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    matrix, score = root @ root.T + np.eye(3), rng.normal(size=3)
    for dims in (2, 3):
        step = np.zeros(3)
        log_determinant = kernels.solve(matrix, score, np.full(3, 0.5), dims, step)
        damped = matrix[:dims, :dims] + 0.5 * np.eye(dims)
        np.testing.assert_allclose(step[:dims], np.linalg.solve(damped, score[:dims]))
        assert log_determinant == pytest.approx(np.linalg.slogdet(damped)[1])


@pytest.mark.parametrize(
    "psf", [GaussianPsf(1.3), AstigmaticPsf(1.3, 250.0, 400.0)], ids=["2d", "3d"]
)
def test_the_model_is_the_light_of_its_blinks_after_every_round(psf) -> None:
    """Sweeps and moves add and take away light; what is left is background and living blinks."""
    state = state_of(blink_scene(psf, seed=2, density=0.02))
    for births in (True, True, False):
        state.refine(4, 0.8, 1e-3)
        np.testing.assert_allclose(state.window.model, redrawn(state), atol=1e-9, rtol=0)
        state.renew_background()
        state.change_blinks(births, exchanges=True)
        np.testing.assert_allclose(state.window.model, redrawn(state), atol=1e-9, rtol=0)


def test_sweeps_raise_the_likelihood_and_come_to_rest() -> None:
    state = state_of(blink_scene(GaussianPsf(1.3), seed=3, density=0.02))
    values = [log_likelihood(state.window.counts, state.window.model)]
    for _ in range(8):
        state.refine(3, 1.0, 1e-4)
        values.append(log_likelihood(state.window.counts, state.window.model))
    assert values[-1] > values[0] + 10
    assert values[-1] - values[-2] < 0.02 * (values[-1] - values[0])
    assert (state.blinks.photons >= 0).all()
