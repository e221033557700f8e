"""What may be wrong with a localization: bits of the column ``flags``."""

from __future__ import annotations

from enum import IntFlag


class Flag(IntFlag):
    """A bad emitter is a flag, not an exception; the bits add up."""

    NOT_CONVERGED = 1
    """The fit stopped at its largest number of iterations."""
    AT_BOUND = 2
    """A position or width stopped at the bound of its search range."""
    NEAR_BORDER = 4
    """Part of the PSF lies outside the frame."""
    SATURATED = 8
    """A pixel of the fitted region is at the camera's largest grey value."""
    AMBIGUOUS = 16
    """Another number of emitters in its group is almost as probable."""
    DEGENERATE = 32
    """The data cannot tell it from its neighbours: the Fisher information is near singular."""
    BAD_PIXEL = 64
    """A pixel of the fitted region has no valid calibration."""
