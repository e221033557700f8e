"""Drift by COMET, which maximizes the overlap of all time windows at once (extra ``drift``)."""

from __future__ import annotations

import numpy as np

from hdsmlm.config.postprocessing import DriftConfig
from hdsmlm.errors import TableError, require_extra
from hdsmlm.postprocessing.drift import Drift, from_first_frame, segment_count
from hdsmlm.records.emitters import Emitters

_TARGET_SIGMA_NM = 10.0
_SEED = 0


def estimate_drift_comet(emitters: Emitters, config: DriftConfig) -> Drift:
    """Estimate the drift with the library ``comet-smlm``, on the CPU.

    Parameters
    ----------
    emitters : Emitters
        Localizations of a structure that does not move by itself.
    config : DriftConfig
        Segments and largest drift; the other settings are those of RCC.

    Returns
    -------
    Drift
        Zero up to the first frame that has localizations.

    Raises
    ------
    MissingExtraError
        When the library is not installed.
    TableError
        With too few localizations or frames.
    """
    require_extra("comet", "drift", "to correct drift by COMET")
    n_segments = segment_count(emitters, config)
    from comet import comet_run_kd

    axial = emitters["z_nm"] if "z_nm" in emitters else np.zeros(len(emitters))
    dataset = np.column_stack([emitters["x_nm"], emitters["y_nm"], axial, emitters["frame"]])
    try:
        found = comet_run_kd(
            dataset,
            segmentation_mode=0,
            segmentation_var=n_segments,
            max_drift_nm=config.max_drift_nm,
            target_sigma_nm=_TARGET_SIGMA_NM,
            mode="cpu",
            random_state=_SEED,
        )
    except ValueError as error:
        raise TableError(f"drift: COMET could not use this table: {error}") from error
    drift = np.asarray(found, np.float64)[:, :3]
    drift = from_first_frame(drift, int(emitters["frame"].min()))
    return Drift(drift[:, 0], drift[:, 1], drift[:, 2] if "z_nm" in emitters else None)
