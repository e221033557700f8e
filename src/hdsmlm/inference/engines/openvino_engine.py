"""OpenVINO: the default on CPUs."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.bundle import Bundle
from hdsmlm.config.prediction import Precision
from hdsmlm.errors import BundleError


class OpenVinoEngine:
    """Runs the bundle's ONNX graph with OpenVINO on the CPU.

    OpenVINO's own default on a CPU with bf16 units is bf16, with errors of about 1e-2 in the
    probabilities; here the precision is always said, f32 by default.

    Parameters
    ----------
    bundle : Bundle
        The model.
    precision : {"f32", "bf16"}
        Arithmetic. On CPUs without bf16 units OpenVINO computes in f32 all the same.
    threads : int or None
        Threads, or None for all cores.
    """

    name = "openvino"
    on_gpu = False

    def __init__(self, bundle: Bundle, precision: Precision = "f32", threads: int | None = None):
        openvino = _import_without_telemetry()
        self.device = f"CPU, {precision}"
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            model = openvino.Core().read_model(str(bundle.onnx_path))
            self._request = (
                openvino.Core().compile_model(model, "CPU", options).create_infer_request()
            )
        except RuntimeError as error:
            raise BundleError(
                f"{bundle.onnx_path} cannot be run by OpenVINO: {str(error).splitlines()[0]}. "
                "Export the bundle again, or try --engine onnxruntime"
            ) from error

    def run(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network; see :class:`~hdsmlm.inference.engines.port.InferenceEngine`."""
        values = np.ascontiguousarray(frames, dtype=np.float32)[..., None]
        self._request.infer([values], share_inputs=True)
        return self._request.get_output_tensor(0).data


def _import_without_telemetry() -> Any:
    """Import OpenVINO so that it tells nobody: it sends a report when it is imported.

    Where its telemetry package is not to be had, OpenVINO takes a stand-in of its own that is mute.
    """
    hidden = "openvino_telemetry"
    missing = object()
    before = sys.modules.get(hidden, missing)
    sys.modules[hidden] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        if before is missing:
            del sys.modules[hidden]
        else:
            sys.modules[hidden] = before  # type: ignore[assignment]
    return openvino
