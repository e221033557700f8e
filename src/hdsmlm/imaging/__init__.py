"""The forward model: point-spread functions, cameras, background, SNR, Fisher information."""
