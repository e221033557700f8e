"""The model bundle: what training writes and inference reads.

A folder that explains itself: ``bundle.yaml`` (description, hashes), ``model.onnx`` (dynamic batch,
T, H, W), ``weights.weights.h5`` (Keras), ``config.yaml`` (training), ``provenance.json``,
``MODEL_CARD.md``.
"""

from hdsmlm.bundle.manifest import BundleManifest, TrainedRange
from hdsmlm.bundle.reading import Bundle, load_bundle, shipped_models
from hdsmlm.bundle.writing import BundleContent, write_bundle

__all__ = [
    "Bundle",
    "BundleContent",
    "BundleManifest",
    "TrainedRange",
    "load_bundle",
    "shipped_models",
    "write_bundle",
]
