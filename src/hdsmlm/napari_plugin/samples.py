"""A movie to try the plugin on: File > Open Sample > hdsmlm."""

from __future__ import annotations

from hdsmlm.io.movies import ArrayMovie
from hdsmlm.napari_plugin.layers import LayerTuple, movie_layer, points_layer

SEED = 20
FRAMES, HEIGHT, WIDTH = 64, 64, 64
PIXEL_SIZE_NM = 100.0


def simulated_movie() -> list[LayerTuple]:
    """Return a simulated dense movie and its truth; the same every time.

    The camera is the preset ``ideal``, the PSF a Gaussian of sigma 1.3 px.
    """
    from hdsmlm.config.simulation import CameraWeights, PsfWeights, SimulationConfig
    from hdsmlm.simulation.scene import SceneSampler

    config = SimulationConfig(
        density_per_um2=(1.0, 1.0),
        pixel_size_nm=(PIXEL_SIZE_NM, PIXEL_SIZE_NM),
        sigma_px=(1.3, 1.3),
        sigma_spread=(0.0, 0.0),
        cameras=CameraWeights(emccd=0, scmos=0, ideal=1),
        psfs=PsfWeights(gaussian=1, astigmatic=0, diffraction=0),
        photons=(2000.0, 2000.0),
    )
    scene = SceneSampler(config, (FRAMES, HEIGHT, WIDTH)).draw(SEED, 0)
    movie = ArrayMovie(scene.frames, pixel_size_nm=PIXEL_SIZE_NM, name="simulated movie")
    return [movie_layer(movie), points_layer(scene.emitters, "truth", PIXEL_SIZE_NM)]
