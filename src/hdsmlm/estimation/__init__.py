"""What a movie tells of its microscope: camera, point-spread function, background, stability."""
