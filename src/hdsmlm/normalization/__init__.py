"""Percentile clipping and scaling of raw frames to [-1, 1]."""
