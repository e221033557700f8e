"""Draw one virtual microscope and sample from the ranges of the simulation section."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from hdsmlm.config.base import Section
from hdsmlm.config.camera import CameraConfig, EmccdConfig, IdealConfig, ScmosConfig
from hdsmlm.config.psf import (
    AstigmaticPsfConfig,
    DiffractionPsfConfig,
    GaussianPsfConfig,
    PsfConfig,
)
from hdsmlm.config.simulation import SimulationConfig
from hdsmlm.imaging.diffraction import SIGMA_PER_WAVELENGTH_OVER_NA

_SATURATION_ADU = 50000.0
_CORE_PER_SIGMA2 = 1 / (2 * math.pi)
"""Share of a Gaussian's light per pixel at its centre, times sigma²."""


class Conditions(Section):
    """One recording's microscope and sample: every quantity of the section, drawn."""

    density_per_um2: float
    """Emitters on per µm² and frame, mean over the field."""
    pixel_size_nm: float
    """Pixel size in the sample plane."""
    psf: PsfConfig
    """Point-spread function."""
    sigma_spread: float
    """Standard deviation of the log of the width between molecules."""
    z_range_nm: float
    """Half-width of the depth range of molecules; 0 for a 2D PSF."""
    camera: CameraConfig
    """Camera."""
    photons: float
    """Median photons of a molecule per full frame."""
    rate_spread: float
    """Standard deviation of the log of the photon rate between molecules."""
    mean_on_frames: float
    """Mean on-time."""
    mean_off_frames: float
    """Mean dark time between blinks of one molecule."""
    blinks_per_molecule: float
    """Mean number of blinks of a molecule."""
    min_fraction: float
    """Least share of a frame that is listed."""
    structure: str
    """Kind of structure."""
    structured_share: float
    """Share of molecules on the structure."""
    max_local_density_per_um2: float
    """Limit of the density on the structure."""
    background_photons: float
    """Mean background per pixel in frame 0."""
    background_structure: float
    """Relative standard deviation of the background over the field."""
    background_scale_px: float
    """Width of the background's structures."""
    bleached_share: float
    """Share of the background that fades."""
    bleaching_frames: float
    """Time constant of the fading."""


def draw_conditions(config: SimulationConfig, rng: np.random.Generator) -> Conditions:
    """Draw the conditions of one recording; the same generator state gives the same conditions."""
    camera = _draw_camera(config, rng)
    sigma_px = _linear(rng, config.sigma_px)
    pixel_size_nm = _log(rng, config.pixel_size_nm)
    psf = _draw_psf(config, sigma_px, pixel_size_nm, rng)
    photons, background = _draw_light(config, camera, sigma_px, rng)
    physics, ground = config.photophysics, config.background
    return Conditions(
        density_per_um2=_log(rng, config.density_per_um2),
        pixel_size_nm=pixel_size_nm,
        psf=psf,
        sigma_spread=_linear(rng, config.sigma_spread),
        z_range_nm=_linear(rng, config.z_range_nm) if psf.kind != "gaussian" else 0.0,
        camera=_unsaturated(config, camera, photons * _peak(sigma_px) * 4 + background),
        photons=photons,
        rate_spread=_linear(rng, physics.rate_spread),
        mean_on_frames=_log(rng, physics.mean_on_frames),
        mean_off_frames=_log(rng, physics.mean_off_frames),
        blinks_per_molecule=_linear(rng, physics.blinks_per_molecule),
        min_fraction=physics.min_fraction,
        structure=_choose(rng, config.structures),
        structured_share=_linear(rng, config.structured_share),
        max_local_density_per_um2=config.max_local_density_per_um2,
        background_photons=background,
        background_structure=_linear(rng, ground.structure),
        background_scale_px=_log(rng, ground.structure_scale_px),
        bleached_share=_linear(rng, ground.bleached_share),
        bleaching_frames=_log(rng, ground.bleaching_frames),
    )


def _linear(rng: np.random.Generator, ends: tuple[float, float]) -> float:
    return float(ends[0] + (ends[1] - ends[0]) * rng.random())


def _log(rng: np.random.Generator, ends: tuple[float, float]) -> float:
    """Draw log-uniformly; a range from 0 is drawn linearly."""
    if ends[0] <= 0:
        return _linear(rng, ends)
    if ends[0] == ends[1]:
        return float(ends[0])
    return float(ends[0] * (ends[1] / ends[0]) ** rng.random())


def _choose(rng: np.random.Generator, weights: Section) -> str:
    values: dict[str, float] = weights.model_dump()
    shares = np.array(list(values.values()))
    return str(rng.choice(list(values), p=shares / shares.sum()))


def _draw_camera(config: SimulationConfig, rng: np.random.Generator) -> CameraConfig:
    kind = _choose(rng, config.cameras)
    emccd, scmos = config.emccd, config.scmos
    if kind == "emccd":
        return EmccdConfig(
            quantum_efficiency=_linear(rng, emccd.quantum_efficiency),
            em_gain=_log(rng, emccd.em_gain),
            read_noise_e=_linear(rng, emccd.read_noise_e),
            spurious_charge_e=_linear(rng, emccd.spurious_charge_e),
            e_per_adu=_log(rng, emccd.e_per_adu),
            baseline_adu=_log(rng, emccd.baseline_adu),
        )
    if kind == "scmos":
        return ScmosConfig(
            quantum_efficiency=_linear(rng, scmos.quantum_efficiency),
            gain_adu_per_e=_log(rng, scmos.gain_adu_per_e),
            read_noise_e=_linear(rng, scmos.read_noise_e),
            baseline_adu=_log(rng, scmos.baseline_adu),
            dark_e=_linear(rng, scmos.dark_e),
            gain_spread=_linear(rng, scmos.gain_spread),
            read_noise_spread=_linear(rng, scmos.read_noise_spread),
            baseline_spread_adu=_linear(rng, scmos.baseline_spread_adu),
            hot_pixel_fraction=_linear(rng, scmos.hot_pixel_fraction),
            map_seed=int(rng.integers(2**31)),
            gain_map=scmos.gain_map,
            offset_map=scmos.offset_map,
            variance_map=scmos.variance_map,
        )
    return IdealConfig()


def _unsaturated(
    config: SimulationConfig, camera: CameraConfig, bright_photons: float
) -> CameraConfig:
    """Lower the gain within its range until bright pixels are not saturated, as a user would."""
    if isinstance(camera, IdealConfig):
        return camera
    room = _SATURATION_ADU - camera.baseline_adu
    electrons = bright_photons * camera.quantum_efficiency
    if isinstance(camera, EmccdConfig):
        low = config.emccd.em_gain[0]
        gain = min(camera.em_gain, max(low, room * camera.e_per_adu / electrons))
        change: dict[str, Any] = {"em_gain": gain}
        excess = electrons * gain / camera.e_per_adu / room
        if excess > 1:
            high = config.emccd.e_per_adu[1]
            change["e_per_adu"] = max(camera.e_per_adu, min(high, camera.e_per_adu * excess))
        return camera.model_copy(update=change)
    low = config.scmos.gain_adu_per_e[0]
    gain = min(camera.gain_adu_per_e, max(low, room / electrons))
    return camera.model_copy(update={"gain_adu_per_e": gain})


def _draw_psf(
    config: SimulationConfig, sigma_px: float, pixel_size_nm: float, rng: np.random.Generator
) -> PsfConfig:
    kind = _choose(rng, config.psfs)
    if kind == "astigmatic":
        return AstigmaticPsfConfig(
            sigma_px=sigma_px,
            focus_offset_nm=float(rng.uniform(150, 350)),
            focal_depth_nm=float(rng.uniform(300, 600)),
        )
    if kind == "diffraction":
        # the aperture and colour of an objective that gives this width
        ratio = sigma_px * pixel_size_nm / SIGMA_PER_WAVELENGTH_OVER_NA  # λ/NA
        aperture = float(np.clip(rng.uniform(520, 700) / ratio, 0.3, 1.45))
        return DiffractionPsfConfig(
            numerical_aperture=aperture,
            wavelength_nm=float(np.clip(aperture * ratio, 300, 1200)),
            pixel_size_nm=pixel_size_nm,
            max_defocus_nm=config.z_range_nm[1],
        )
    return GaussianPsfConfig(sigma_px=sigma_px)


def _peak(sigma_px: float) -> float:
    return min(_CORE_PER_SIGMA2 / sigma_px**2, 1.0)


def _draw_light(
    config: SimulationConfig, camera: CameraConfig, sigma_px: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Draw photons and background until a median molecule reaches ``min_median_snr``."""
    for _ in range(50):
        photons = _log(rng, config.photons)
        background = _log(rng, config.background.photons)
        if median_snr(camera, photons, background, sigma_px) >= config.min_median_snr:
            break
    return photons, background


def median_snr(camera: CameraConfig, photons: float, background: float, sigma_px: float) -> float:
    """Return the SNR of imaging.snr for an emitter in the middle of a pixel of a median camera.

    It has its own terms because it decides whether light is drawn again: there is no camera yet,
    only its section (the maps of an sCMOS chip would have to be drawn first), and another order of
    rounding could turn a decision and with it every later number of the scene.
    """
    efficiency = camera.quantum_efficiency
    variance = efficiency * background
    if isinstance(camera, EmccdConfig):
        variance = 2 * (variance + camera.spurious_charge_e)
        variance += (camera.read_noise_e / camera.em_gain) ** 2
    elif isinstance(camera, ScmosConfig):
        variance += camera.dark_e + camera.read_noise_e**2
    return efficiency * photons * _peak(sigma_px) / math.sqrt(variance)
