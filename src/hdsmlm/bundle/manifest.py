"""The manifest ``bundle.yaml``: everything that inference must know about a model."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from hdsmlm.config.base import Section
from hdsmlm.config.normalization import NormalizationConfig
from hdsmlm.config.prediction import CalibrationConfig, DecodingConfig

SCHEMA_VERSION = 1
"""Rises when an older program could no longer read a bundle rightly."""

MANIFEST_FILE = "bundle.yaml"
ONNX_FILE = "model.onnx"
WEIGHTS_FILE = "weights.weights.h5"
CONFIG_FILE = "config.yaml"
PROVENANCE_FILE = "provenance.json"
CARD_FILE = "MODEL_CARD.md"


class TrainedRange(Section):
    """What the training samples covered; prediction warns outside."""

    density_per_um2: tuple[float, float] = (0.0, 10.0)
    """Lowest and highest density of emitters that are on, per µm² and frame."""
    pixel_size_nm: tuple[float, float] = (50.0, 250.0)
    """Smallest and largest side of a pixel in the sample."""
    psf_sigma_px: tuple[float, float] = (0.5, 3.0)
    """Narrowest and widest point-spread function, as a Gaussian sigma in pixels."""


class BundleManifest(Section):
    """Description of one trained model; stored as ``bundle.yaml``."""

    schema_version: int = Field(SCHEMA_VERSION, ge=1)
    """Version of this description."""
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Short name; also the folder's name where the model ships with the program."""
    description: str
    """One sentence: what the model is for."""
    created: str
    """UTC time of writing, ISO 8601."""
    network: dict[str, Any]
    """Network section that rebuilds the Keras model for the stored weights."""
    normalization: NormalizationConfig
    """How raw frames become the network's input."""
    window_frames: int = Field(ge=1)
    """Temporal length of the training samples; a movie must have at least as many frames."""
    receptive_frames: int = Field(ge=0)
    """Frames before and after that can change the answer for a frame."""
    receptive_px: int = Field(ge=0)
    """Pixels to each side that can change the answer for a pixel."""
    spatial_multiple: int = Field(ge=1)
    """Height and width of the network's input must be multiples of this."""
    min_size_px: int = Field(16, ge=1)
    """Smallest height and width that the network takes; smaller frames are padded."""
    decoding: DecodingConfig = DecodingConfig()
    """Calibrated decoding."""
    calibration: CalibrationConfig = CalibrationConfig()
    """Correction of the probabilities."""
    trained_range: TrainedRange = TrainedRange()
    """What the training samples covered."""
    scores: dict[str, Any] = Field(default_factory=dict)
    """Scores on the project's own data, nested plain values."""
    files: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of every other file in the folder."""
