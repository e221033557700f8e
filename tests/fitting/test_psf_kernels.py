"""The fit's images are those of the simulator's PSF objects, and so are their gradients."""

from __future__ import annotations

import numpy as np
import pytest

from hdsmlm.config.psf import DiffractionPsfConfig
from hdsmlm.errors import ConfigError
from hdsmlm.fitting.psf_kernels import SHAPE, fill_patch, fittable_psf
from hdsmlm.imaging.diffraction import DiffractionPsf
from hdsmlm.imaging.psf import AstigmaticPsf, GaussianPsf, Psf
from hdsmlm.imaging.spline import SplinePsf, bsplines_from_samples, cells_from_bsplines

ASTIGMATIC = AstigmaticPsf(1.3, 250.0, 400.0)
SHAPE_PX = (17, 19)


def spline() -> SplinePsf:
    """A measured PSF, here of an astigmatic Gaussian sampled every 100 nm."""
    planes = np.linspace(-400, 400, 9)
    n = 17
    images = ASTIGMATIC.images(np.full(9, n / 2), np.full(9, n / 2), planes, (n, n)).share
    return SplinePsf(cells_from_bsplines(bsplines_from_samples(images)), -400.0, 100.0, 100.0)


def patch_of(psf: Psf, place: tuple[float, float, float], box: tuple[int, int, int, int]):
    """Image and gradient of one emitter in the pixels (x0, y0, nx, ny)."""
    x0, y0, nx, ny = box
    patch, profiles = np.full((4, ny, nx), np.nan), np.empty((2, 3, max(nx, ny)))
    rows = fill_patch(fittable_psf(psf).kernel, np.array([1.0, *place]), x0, y0, profiles, patch)
    return patch, rows


@pytest.mark.parametrize("psf", [GaussianPsf(1.3), GaussianPsf(0.8), ASTIGMATIC, spline()])
@pytest.mark.parametrize("box", [(0, 0, 19, 17), (4, 2, 9, 7), (9, 8, 10, 9)])
@pytest.mark.parametrize("place", [(9.3, 8.1), (8.0, 8.5), (3.2, 14.9), (-0.4, 7.7)])
def test_patches_are_the_images_of_the_simulator(psf: Psf, box, place) -> None:
    z = 120.0
    shape = z if psf.is_3d else psf.sigma_px
    patch, rows = patch_of(psf, (*place, shape), box)
    images = psf.images(*place, z, SHAPE_PX)
    x0, y0, nx, ny = box
    cut = (0, slice(y0, y0 + ny), slice(x0, x0 + nx))
    for layer, wanted in zip(patch, (images.share, images.by_x, images.by_y), strict=False):
        np.testing.assert_allclose(layer, wanted[cut], atol=2e-6)
    if psf.is_3d:
        np.testing.assert_allclose(patch[SHAPE], images.by_z[cut], atol=2e-8)
    assert not patch[:, : rows[0]].any()
    assert not patch[:, rows[1] :].any()


def test_the_slope_by_the_width_is_that_of_finite_differences() -> None:
    box, step = (3, 2, 12, 13), 1e-5
    patch, _ = patch_of(GaussianPsf(1.3), (8.7, 9.2, 1.3), box)
    wide, _ = patch_of(GaussianPsf(1.3), (8.7, 9.2, 1.3 + step), box)
    narrow, _ = patch_of(GaussianPsf(1.3), (8.7, 9.2, 1.3 - step), box)
    np.testing.assert_allclose(patch[SHAPE], (wide[0] - narrow[0]) / (2 * step), atol=1e-8)


def test_the_reach_is_the_width_half_way_to_the_ends_of_the_range() -> None:
    psf = fittable_psf(ASTIGMATIC, (200.0, 1000.0))
    assert psf.reach_px == pytest.approx(float(np.max(ASTIGMATIC.sigmas_px(np.array([800.0])))))
    both = fittable_psf(ASTIGMATIC, (-600.0, 600.0))
    assert both.reach_px == pytest.approx(float(np.max(ASTIGMATIC.sigmas_px(np.array([300.0])))))


def test_a_psf_without_a_kernel_is_refused() -> None:
    with pytest.raises(ConfigError, match="no kernel for a DiffractionPsf; use a Gaussian"):
        fittable_psf(DiffractionPsf(DiffractionPsfConfig()))
