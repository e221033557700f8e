"""OpenVINO: the default on CPUs."""

from __future__ import annotations

import sys
from functools import cache
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hdsmlm.bundle import Bundle
from hdsmlm.config.prediction import Precision
from hdsmlm.errors import BundleError

_LOCK = Lock()


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
        core = process_core()
        self.device = f"CPU, {precision}"
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
        }
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            model = core.read_model(str(bundle.onnx_path))
            self._request = core.compile_model(model, "CPU", options).create_infer_request()
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


def process_core() -> Any:
    """Return the one ``openvino.Core`` of this process, which lives as long as the process.

    A second one would be dangerous on Linux: with every ``Core``, the CPU plugin takes a signal
    stack of its own for the thread (``sigaltstack``, for processors with AMX) and puts the former
    one back when it is dropped. Unless they are dropped in the reverse order of their making, what
    is put back has been freed already, and the next signal (Ctrl-C) is written over other data.
    See ``docs/decisions/0015-one-openvino-core.md``.
    """
    with _LOCK:
        return _make_core()


@cache
def _make_core() -> Any:
    return _import_without_telemetry().Core()


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
