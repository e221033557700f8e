"""Sections of ``hdsmlm bin``: what is a sound spot, how far apart sequences lie, what is kept."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from hdsmlm.config.base import Section
from hdsmlm.config.postprocessing import LinkConfig


class SoundConfig(Section):
    """Which localizations of a sparse frame are beyond doubt; all others are doubtful spots."""

    candidate_threshold: float = Field(0.2, gt=0.0, le=1.0)
    """Expected count from which a unit of the count map is a candidate beside what the localizer
    finds: what it may have missed is among them."""
    doubt_log_likelihood_ratio: float = Field(3.0, ge=0.0)
    """Gain in log-likelihood from which a candidate without neighbours is at least doubtful; noise
    alone gives less. (Of two candidates for one emitter each gains nothing beside the other.)"""
    min_log_likelihood_ratio: float = Field(12.0, ge=0.0)
    """Least gain in log-likelihood of the fit with the emitter over the fit without it."""
    min_probability: float = Field(0.8, ge=0.0, le=1.0)
    """Least posterior probability that it exists."""
    max_uncertainty_px: float = Field(0.5, gt=0.0)
    """Largest standard error of x and of y."""
    min_distance_sigmas: float = Field(3.0, ge=0.0)
    """Least distance to any serious candidate of its frame, in PSF standard deviations."""
    neighbour_log_likelihood_ratio: float = Field(6.0, ge=0.0)
    """Gain in log-likelihood from which a candidate is a serious neighbour: most of the fainter
    ones are none."""
    neighbour_share: float = Field(0.2, ge=0.0)
    """Photons, relative to the emitter's own, from which a candidate is a serious neighbour:
    fainter ones hardly move the fit."""


class BinningConfig(Section):
    """One run of ``hdsmlm bin``, apart from the movie, the model and the microscope."""

    factor: int = Field(5, ge=2, le=1000)
    """Sparse sequences that are added up to a dense one."""
    sequence_frames: int = Field(5, ge=1, le=1000)
    """T: consecutive frames of a sequence; the blinks keep their real course within it."""
    sequences: int = Field(100, ge=1)
    """Dense sequences that are written."""
    min_lag_frames: int | None = Field(None, ge=1)
    """Frames between the end of one summand and the start of another, at least; null measures the
    correlation time of the movie's blinks."""
    correlation_level: float = Field(0.05, gt=0.0, lt=1.0)
    """The lag is where the autocorrelation of the blinks has fallen to this."""
    backgrounds_kept: float = Field(1.0, gt=0.0)
    """Backgrounds of single frames that stay in the sum; the others are subtracted."""
    background_frames: int = Field(200, ge=1)
    """Frames over which the background is averaged: longer is more precise, shorter follows
    bleaching."""
    background_smoothing_px: float = Field(3.0, ge=0.0)
    """Standard deviation of the Gaussian that smooths the background map."""
    augment: bool = False
    """For short movies: turn, mirror and shift the summands, so that the same blink at two times
    lies at two places; frames are square and smaller then."""
    crop_px: int | None = Field(None, ge=16)
    """Side of the square that an augmented summand is cut from; null: 7/8 of the frame's side."""
    snr_of: Literal["frame", "sum"] = "frame"
    """Signal-to-noise ratio in the labels: of the sparse frame, or with the noise of the sum."""
    max_doubtful_share: float = Field(0.5, gt=0.0, le=1.0)
    """Share of the candidates that may have a neighbour within ``sound.min_distance_sigmas``; a
    movie with more is too dense to bin."""
    seed: int = Field(1, ge=0)
    """Seed of the draw."""
    sound: SoundConfig = SoundConfig()
    """Which localizations are beyond doubt."""
    linking: LinkConfig = LinkConfig()
    """Which localizations are one blink."""

    @model_validator(mode="after")
    def _crop_needs_augment(self) -> BinningConfig:
        if self.crop_px is not None and not self.augment:
            raise ValueError("crop_px is for augmented sums; set augment to true as well")
        return self
