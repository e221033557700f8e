"""Percentile clipping and scaling of raw frames to [-1, 1]."""

from hdsmlm.normalization.normalizer import Normalizer, fit_normalizer, normalizer_of_array

__all__ = ["Normalizer", "fit_normalizer", "normalizer_of_array"]
