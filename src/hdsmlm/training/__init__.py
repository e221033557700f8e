"""Training of one network: data feed, loop state, checkpoints, calibration."""
