"""What a movie tells of itself: camera, PSF, background, density, drift."""
