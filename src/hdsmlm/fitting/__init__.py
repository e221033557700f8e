"""Multi-emitter fit: from counted detections to sub-pixel localizations with uncertainties.

likelihood (one Poisson model for every camera) → groups → frame-wise fit | space-time fit → table.
"""
