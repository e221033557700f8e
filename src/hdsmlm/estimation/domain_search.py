"""Microscopes between others: new conditions within the ranges, near given ones.

A movie is one microscope and one sample; a training distribution holds thousands. To ask whether a
movie could have come from it, the scenes that resemble the movie most are drawn again with mixed
conditions, each quantity between (and a little beyond) those of two parents, but never outside the
ranges of the configuration: the movie is projected onto what the model was trained on.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hdsmlm.config.psf import AstigmaticPsfConfig, GaussianPsfConfig, PsfConfig
from hdsmlm.config.simulation import SimulationConfig
from hdsmlm.simulation.conditions import Conditions, median_snr

_BEYOND = 0.25
"""How far a quantity goes beyond its parents, in distances between them."""
_TYPICAL_SIGMA_PX = 1.3
_JITTER = 0.03
"""Least scatter, in widths of the range."""


def mix(
    first: Conditions, second: Conditions, ranges: SimulationConfig, rng: np.random.Generator
) -> Conditions:
    """Return conditions between two parents, inside the ranges.

    Kinds (camera, PSF, structure) and what belongs to them come from one parent, the donor. Light
    that would leave the median molecule dimmer than ``ranges.min_median_snr`` is the donor's.
    """
    donor, other = (first, second) if rng.random() < 0.5 else (second, first)
    draw = _Between(rng)
    physics, ground = ranges.photophysics, ranges.background
    psf, pixel_size_nm = donor.psf, donor.pixel_size_nm
    change: dict[str, Any] = {}
    if isinstance(psf, (GaussianPsfConfig, AstigmaticPsfConfig)):
        # the pattern of the others is sampled at its own pixel size
        width = draw.linear(psf.sigma_px, _sigma_px(other.psf, psf.sigma_px), ranges.sigma_px)
        change["psf"] = psf = psf.model_copy(update={"sigma_px": width})
        pixel_size_nm = draw.log(pixel_size_nm, other.pixel_size_nm, ranges.pixel_size_nm)
    change["pixel_size_nm"] = pixel_size_nm
    for name, ends in (
        ("density_per_um2", ranges.density_per_um2),
        ("photons", ranges.photons),
        ("mean_on_frames", physics.mean_on_frames),
        ("background_photons", ground.photons),
        ("background_scale_px", ground.structure_scale_px),
    ):
        change[name] = draw.log(getattr(donor, name), getattr(other, name), ends)
    for name, ends in (
        ("sigma_spread", ranges.sigma_spread),
        ("rate_spread", physics.rate_spread),
        ("background_structure", ground.structure),
    ):
        change[name] = draw.linear(getattr(donor, name), getattr(other, name), ends)
    sigma_px = _sigma_px(psf, _TYPICAL_SIGMA_PX)
    light = change["photons"], change["background_photons"]
    if median_snr(donor.camera, *light, sigma_px) < ranges.min_median_snr:
        del change["photons"], change["background_photons"]
    return donor.model_copy(update=change)


def _sigma_px(psf: PsfConfig, otherwise: float) -> float:
    """Return the width of a Gaussian PSF; other kinds have none of their own."""
    if isinstance(psf, (GaussianPsfConfig, AstigmaticPsfConfig)):
        return psf.sigma_px
    return otherwise


class _Between:
    """Draws numbers between two others, clipped to a range."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def linear(self, a: float, b: float, ends: tuple[float, float]) -> float:
        share = self._rng.uniform(-_BEYOND, 1 + _BEYOND)
        scatter = _JITTER * (ends[1] - ends[0]) * self._rng.normal()
        return float(np.clip(a + share * (b - a) + scatter, *ends))

    def log(self, a: float, b: float, ends: tuple[float, float]) -> float:
        logs = math.log(ends[0]), math.log(ends[1])
        value = math.exp(self.linear(math.log(a), math.log(b), logs))
        return float(np.clip(value, *ends))
