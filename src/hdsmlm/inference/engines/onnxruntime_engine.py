"""ONNX Runtime: CUDA and DirectML where there is a GPU, and the second opinion on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.bundle import Bundle
from hdsmlm.errors import BundleError, ConfigError
from hdsmlm.inference.engines.port import INPUT_NAME

GPU_PROVIDERS = ("CUDAExecutionProvider", "DmlExecutionProvider")
"""Providers that ``auto`` prefers to a CPU, best first."""


def gpu_provider() -> str | None:
    """Return the GPU provider that the installed ONNX Runtime offers, or None."""
    import onnxruntime

    available = onnxruntime.get_available_providers()
    return next((name for name in GPU_PROVIDERS if name in available), None)


class OnnxRuntimeEngine:
    """Runs the bundle's ONNX graph with ONNX Runtime.

    Parameters
    ----------
    bundle : Bundle
        The model.
    threads : int or None
        CPU threads, or None for all cores.
    provider : str or None
        An ONNX Runtime provider; None takes the GPU that there is, else the CPU. The CPU provider
        always follows as the fallback; :attr:`device` and :attr:`on_gpu` say which one runs.
    """

    name = "onnxruntime"

    def __init__(self, bundle: Bundle, threads: int | None = None, provider: str | None = None):
        import onnxruntime

        available = onnxruntime.get_available_providers()
        if provider is not None and provider not in available:
            raise ConfigError(
                f"ONNX Runtime provider '{provider}' is not installed; "
                f"there are: {', '.join(available)}"
            )
        wanted = provider or gpu_provider() or "CPUExecutionProvider"
        providers = list(dict.fromkeys([wanted, "CPUExecutionProvider"]))
        _prepare(onnxruntime, wanted)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads is not None:
            options.intra_op_num_threads = threads
        if wanted == "DmlExecutionProvider":  # DirectML forbids memory patterns
            options.enable_mem_pattern = False
        try:
            self._session = onnxruntime.InferenceSession(
                str(bundle.onnx_path), options, providers=providers
            )
        except Exception as error:  # its exceptions share no public base
            raise BundleError(
                f"{bundle.onnx_path} cannot be run by ONNX Runtime: {str(error).splitlines()[0]}. "
                "Export the bundle again, or try --engine openvino"
            ) from error
        running = self._session.get_providers()[0]
        self.on_gpu = running in GPU_PROVIDERS
        self.device = f"{running}, f32"

    def run(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network; see :class:`~hdsmlm.inference.engines.port.InferenceEngine`."""
        values = np.ascontiguousarray(frames, dtype=np.float32)[..., None]
        return self._session.run(None, {INPUT_NAME: values})[0]


def _prepare(onnxruntime: Any, provider: str) -> None:
    """Load CUDA's libraries where pip put them, and let the library report to nobody."""
    onnxruntime.disable_telemetry_events()
    if provider == "CUDAExecutionProvider" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
