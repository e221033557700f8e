"""The one registry of table columns; csv headers, docs and API schemas derive from it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """One column of an emitter table.

    Parameters
    ----------
    name : str
        Name inside the program; ends in its unit where it has one.
    dtype : str
        NumPy dtype name.
    unit : str
        Unit, or "" for a pure number.
    meaning : str
        One sentence.
    """

    name: str
    dtype: str
    unit: str
    meaning: str


COLUMNS: dict[str, Column] = {
    column.name: column
    for column in (
        Column("frame", "int32", "", "Frame of the movie, 0-based."),
        Column("x_nm", "float64", "nm", "Position along the columns, from the corner of pixel 0."),
        Column("y_nm", "float64", "nm", "Position along the rows, from the corner of pixel 0."),
        Column(
            "z_nm", "float64", "nm", "Axial position, 0 in focus, positive towards the objective."
        ),
        Column(
            "photons", "float64", "photons", "Photons of the emitter in this frame, on the camera."
        ),
        Column(
            "background", "float64", "photons/px", "Background photons per pixel at the emitter."
        ),
        Column("sigma_nm", "float64", "nm", "Lateral PSF standard deviation in this frame."),
        Column("snr", "float64", "", "Background signal-to-noise ratio of the brightest pixel."),
        Column("n_frames", "int32", "", "Frames in which the blink was localized."),
        Column(
            "duration_frames",
            "int32",
            "",
            "Frames from the first to the last of the blink, dark ones included.",
        ),
        Column("emitter_id", "int64", "", "Molecule that emitted; shared by all its blinks."),
        Column("blink_id", "int64", "", "Blink; shared by the frames of one on-time."),
        Column(
            "probability", "float64", "", "Expected number of emitters in the mass it took (0..1)."
        ),
        Column(
            "count_class",
            "int32",
            "",
            "Most probable count of the 3x3 pixels around it, 3 = 3 or more.",
        ),
        Column(
            "expected_count",
            "float64",
            "",
            "Expected number of emitters in the 5x5 pixels around it.",
        ),
        Column(
            "uncertainty_x_nm", "float64", "nm", "Standard error of x, from the Fisher information."
        ),
        Column(
            "uncertainty_y_nm", "float64", "nm", "Standard error of y, from the Fisher information."
        ),
        Column(
            "uncertainty_z_nm", "float64", "nm", "Standard error of z, from the Fisher information."
        ),
        Column("uncertainty_photons", "float64", "photons", "Standard error of the photons."),
        Column(
            "uncertainty_background", "float64", "photons/px", "Standard error of the background."
        ),
        Column(
            "log_likelihood_ratio",
            "float64",
            "",
            "Log-likelihood of the fit with this emitter minus that without it.",
        ),
        Column("group_id", "int64", "", "Group of overlapping emitters that were fitted together."),
        Column("flags", "int32", "", "Bits of hdsmlm.records.flags.Flag; 0 is a sound fit."),
    )
}

REQUIRED: tuple[str, ...] = ("frame", "x_nm", "y_nm")
