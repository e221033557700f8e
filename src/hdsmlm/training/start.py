"""Start a run from the weights of a trained model (fine-tuning)."""

from __future__ import annotations

import keras

from hdsmlm.bundle import load_bundle
from hdsmlm.config.base import parse_section
from hdsmlm.config.network import NetworkConfig
from hdsmlm.errors import BundleError, ConfigError
from hdsmlm.network.unet3d import build_unet3d


def take_weights(model: keras.Model, source: str) -> dict[str, str]:
    """Copy the weights of a bundle into a freshly built network, layer by layer, by name.

    Layers that only the new network has keep their start values, so that it may have more blocks
    than the trained one; every trained layer must have its place in it.

    Parameters
    ----------
    model : keras.Model
        The network of the new run; changed in place.
    source : str
        Shipped model or bundle folder.

    Returns
    -------
    dict of str
        ``name``, ``created`` and ``sha256`` of the bundle, for the provenance.

    Raises
    ------
    BundleError
        When the bundle is missing, damaged or without Keras weights.
    ConfigError
        When its network does not fit into the new one; names the layers.
    """
    bundle = load_bundle(source)
    if not bundle.weights_path.is_file():
        raise BundleError(
            f"{bundle.folder} holds no Keras weights, only the exported network; a run can start "
            "only from a bundle that `hdsmlm train` wrote"
        )
    config = parse_section(NetworkConfig, bundle.manifest.network, f"the network of {source}")
    trained = build_unet3d(config)
    trained.load_weights(bundle.weights_path)
    places = {layer.name: layer for layer in model.layers}
    misfits = []
    for layer in trained.layers:
        weights = layer.get_weights()
        if not weights:
            continue
        place = places.get(layer.name)
        if place is None or [w.shape for w in place.get_weights()] != [w.shape for w in weights]:
            misfits.append(layer.name)
        else:
            place.set_weights(weights)
    if misfits:
        raise ConfigError(
            f"the network of '{source}' does not fit the network section of this run: "
            f"{', '.join(misfits)}; give the run the network section of {source}'s config.yaml"
        )
    return {
        "name": bundle.manifest.name,
        "created": bundle.manifest.created,
        "sha256": bundle.sha256,
    }
