"""Engines that run a bundle's network: one port, one registry, one conformance test."""

from __future__ import annotations

from collections.abc import Callable

from hdsmlm.bundle import Bundle
from hdsmlm.config.prediction import EngineName, Precision
from hdsmlm.errors import ConfigError
from hdsmlm.inference.engines.port import InferenceEngine

__all__ = ["ENGINES", "InferenceEngine", "build_engine", "resolve_engine"]

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


def resolve_engine(name: EngineName) -> str:
    """Return the engine that ``name`` stands for.

    ``auto`` is ONNX Runtime where the installed one offers a GPU (CUDA or DirectML), else OpenVINO,
    which is the fastest on a CPU (``benchmarks/prediction_speed.py``).
    """
    if name != "auto":
        return name
    from hdsmlm.inference.engines.onnxruntime_engine import gpu_provider

    return "onnxruntime" if gpu_provider() else "openvino"


def build_engine(
    name: EngineName, bundle: Bundle, *, precision: Precision = "f32", threads: int | None = None
) -> InferenceEngine:
    """Return the engine ``name`` with the network of ``bundle``.

    Raises
    ------
    ConfigError
        When the engine has no such precision.
    BundleError
        When it cannot run the bundle's network.
    MissingExtraError
        When its library is not installed.
    """
    return ENGINES[resolve_engine(name)](bundle, precision, threads)


def _only_f32(name: str, precision: Precision) -> None:
    if precision != "f32":
        raise ConfigError(
            f"engine {name} computes in f32, not {precision}; use --engine openvino for {precision}"
        )
