"""Settings of the space-time fit."""

from __future__ import annotations

from pydantic import Field

from hdsmlm.config.base import Section


class SpaceTimeConfig(Section):
    """The fit of blinks: one position per blink, photons per frame."""

    core_frames: int = Field(64, ge=4, le=1000)
    """Frames that one window answers for; windows lie on a grid that starts at frame 0."""
    margin_frames: int = Field(8, ge=2, le=200)
    """Frames that a window sees before and after its core."""
    link_radius_px: float = Field(0.65, gt=0.1, le=5.0)
    """Farthest apart that detections of consecutive frames start as one blink."""
    rounds: int = Field(8, ge=2, le=100)
    """Rounds of fitting and of changing the set of blinks."""
    sweeps: int = Field(6, ge=1, le=100)
    """Passes over all blinks per round."""
    birth_score: float = Field(4.4, gt=2.0, le=20.0)
    """Matched-filter score (standard deviations) from which left-over light is tried as a blink."""
    psf_error: float = Field(0.05, ge=0.0, le=0.5)
    """Relative error of the PSF, per pixel, that is tolerated where new blinks are sought: keeps
    bright emitters of a microscope whose PSF is not quite the model's from growing satellites."""
    prior_weight: float = Field(0.5, ge=0.0, le=1.0)
    """Exponent of what the count map says of a single frame in the prior: 0 ignores it, 1 takes it
    at its word. The map was read off the same frames, so that the full weight would count
    their evidence twice; where molecules lie, averaged over all frames, always counts fully."""
    background_px: float = Field(6.0, ge=2.0, le=100.0)
    """Smoothing of what is added to the background in each round, in space, standard deviation."""
    background_frames: float = Field(15.0, ge=1.0, le=1000.0)
    """Smoothing of what is added to the background in each round, in time, standard deviation."""
    crowding: float = Field(33.0, ge=0.0, le=1000.0)
    """Allowance for wrong choices of blinks in the standard errors of places: variances grow by the
    factor ``1 + crowding·rho²·s²/(u·sigma)``, with rho the blinks per frame and area
    ``4·pi·sigma²`` of the PSF there, u the lateral standard error and s that of the blinks around.
    Found on simulated movies; 0 takes the Fisher information of the chosen blinks alone."""
    min_probability: float = Field(0.3, ge=0.0, lt=1.0)
    """Localizations below this probability of existence are left out of the table, except where
    near ones are all in doubt because each could take over the light of the other."""
