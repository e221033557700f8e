"""Settings of the scores: tolerances, bins, chance placements."""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field, field_validator

from hdsmlm.config.base import Section


class EvaluationConfig(Section):
    """How predictions are matched to truth and how the scores are binned.

    The defaults are the definitions of the headline numbers; change them only to ask another
    question, and state the change beside the score.
    """

    k_neighbours: int = Field(8, ge=1, le=64)
    """A match must be among this many true emitters nearest to the prediction."""
    tolerance_px: float = Field(1.5, gt=0, le=20)
    """Largest lateral distance of a kNN match, in pixels."""
    lateral_tolerance_nm: float = Field(250.0, gt=0)
    """Largest lateral distance of an SMLM 2016 match, in nm."""
    strict_tolerance_nm: float = Field(100.0, gt=0)
    """Second, stricter lateral distance whose F1 is printed beside the first, in nm."""
    axial_tolerance_nm: float = Field(500.0, gt=0)
    """Largest axial distance of an SMLM 2016 match where both tables have z, in nm."""
    border_nm: float = Field(450.0, ge=0)
    """Rim of the field that the SMLM 2016 scores leave out, in nm."""
    alpha_lateral_per_nm: float = Field(1.0, gt=0)
    """Weight of the lateral RMSE in the efficiency, in 1/nm."""
    alpha_axial_per_nm: float = Field(0.5, gt=0)
    """Weight of the axial RMSE in the efficiency, in 1/nm."""
    density_edges_per_um2: tuple[float, ...] = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
    """Edges of the bins of local density, in emitters per µm² and frame; the last bin is open."""
    local_radius_nm: float = Field(1000.0, gt=0)
    """Radius of the disc in which the local density is counted, in nm."""
    snr_edges: tuple[float, ...] = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0)
    """Edges of the signal-to-noise bins of the recall; the last bin is open."""
    chance_repeats: int = Field(3, ge=1, le=100)
    """Random placements that the chance score is averaged over."""
    chance_max_emitters: int = Field(50_000, ge=100)
    """True emitters that a chance placement is scored on at most; evenly chosen frames beyond."""
    chance_seed: int = Field(2016, ge=0)
    """Seed of the random placements."""
    window_px: int = Field(5, ge=1, le=64)
    """Side of the windows, about the size of a PSF, in which counts are compared, in pixels."""
    n_calibration_bins: int = Field(20, ge=2, le=200)
    """Bins of the reliability diagram."""
    n_overlays: int = Field(4, ge=0, le=100)
    """Overlay pictures, of frames evenly spaced over those that hold truth."""

    @field_validator("density_edges_per_um2", "snr_edges")
    @classmethod
    def _ascending(cls, edges: tuple[float, ...]) -> tuple[float, ...]:
        if len(edges) < 2 or any(low >= high for low, high in pairwise(edges)):
            raise ValueError("needs at least two edges in ascending order")
        return edges
