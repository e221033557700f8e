"""Engines that run a bundle's network: one port, one registry, one conformance test."""

from __future__ import annotations

from collections.abc import Callable

from hdsmlm.bundle import Bundle
from hdsmlm.config.prediction import EngineName, Precision
from hdsmlm.errors import BundleError, ConfigError
from hdsmlm.inference.engines.port import InferenceEngine

__all__ = ["ENGINES", "InferenceEngine", "build_engine"]

EngineBuilder = Callable[[Bundle, Precision, int | None], InferenceEngine]


def _openvino(bundle: Bundle, precision: Precision, threads: int | None) -> InferenceEngine:
    from hdsmlm.inference.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(bundle, precision, threads)


def _onnxruntime(bundle: Bundle, precision: Precision, threads: int | None) -> InferenceEngine:
    from hdsmlm.inference.engines.onnxruntime_engine import OnnxRuntimeEngine

    _only_f32("onnxruntime", precision)
    return OnnxRuntimeEngine(bundle, threads)


def _keras(bundle: Bundle, precision: Precision, threads: int | None) -> InferenceEngine:  # noqa: ARG001
    from hdsmlm.inference.engines.keras_engine import KerasEngine

    _only_f32("keras", precision)
    return KerasEngine(bundle)


ENGINES: dict[str, EngineBuilder] = {
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
    "keras": _keras,
}
"""The registry: a new engine is one file and one line here."""


def build_engine(
    name: EngineName, bundle: Bundle, *, precision: Precision = "f32", threads: int | None = None
) -> InferenceEngine:
    """Return the engine ``name`` with the network of ``bundle``.

    ``auto`` is ONNX Runtime where the installed one gets a GPU (CUDA or DirectML), else OpenVINO,
    which is the fastest on a CPU with the graph of 2D convolutions that bundles hold
    (``benchmarks/prediction_speed.py``). A rule and no trial run, so that the same machine always
    takes the same engine.

    Raises
    ------
    ConfigError
        When the engine has no such precision.
    BundleError
        When it cannot run the bundle's network.
    MissingExtraError
        When its library is not installed.
    """
    if name == "auto":
        return _gpu_engine(bundle, precision, threads) or _openvino(bundle, precision, threads)
    return ENGINES[name](bundle, precision, threads)


def _gpu_engine(
    bundle: Bundle, precision: Precision, threads: int | None
) -> InferenceEngine | None:
    """Return ONNX Runtime if it runs on a GPU: to offer a GPU is not yet to have one."""
    from hdsmlm.inference.engines.onnxruntime_engine import OnnxRuntimeEngine, gpu_provider

    if gpu_provider() is None:
        return None
    try:
        engine = OnnxRuntimeEngine(bundle, threads)
    except BundleError:  # some providers refuse to start without their GPU
        return None
    if not engine.on_gpu:
        return None
    _only_f32(engine.name, precision)
    return engine


def _only_f32(name: str, precision: Precision) -> None:
    if precision != "f32":
        raise ConfigError(
            f"engine {name} computes in f32, not {precision}; use --engine openvino for {precision}"
        )
