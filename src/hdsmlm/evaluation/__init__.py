"""Scores: matching, localization, counts, calibration, report."""
