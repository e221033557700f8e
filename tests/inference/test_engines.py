"""One conformance test for all engines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hdsmlm.bundle import Bundle
from hdsmlm.errors import BundleError, ConfigError
from hdsmlm.inference.engines import ENGINES, build_engine, onnxruntime_engine
from hdsmlm.inference.engines.onnxruntime_engine import OnnxRuntimeEngine
from hdsmlm.inference.predictor import Predictor


def frames(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


@pytest.mark.parametrize("name", ENGINES)
class TestConformance:
    @pytest.mark.parametrize("shape", [(1, 1, 8, 8), (1, 5, 16, 24), (2, 3, 12, 8), (1, 9, 8, 40)])
    def test_shape_and_sum(self, unet_bundle: Bundle, name: str, shape: tuple[int, ...]) -> None:
        answer = build_engine(name, unet_bundle).run(frames(*shape))
        assert answer.shape == (*shape, 4)
        assert answer.dtype == np.float32
        assert np.all(answer >= 0)
        np.testing.assert_allclose(answer.sum(-1), 1, atol=1e-5)

    def test_same_answer_twice_and_after_another_shape(
        self, unet_bundle: Bundle, name: str
    ) -> None:
        engine = build_engine(name, unet_bundle)
        first = engine.run(frames(1, 5, 16, 24)).copy()
        engine.run(frames(1, 2, 8, 8))
        np.testing.assert_array_equal(engine.run(frames(1, 5, 16, 24)), first)

    def test_samples_of_a_batch_do_not_mix(self, unet_bundle: Bundle, name: str) -> None:
        engine = build_engine(name, unet_bundle)
        batch = frames(3, 4, 8, 12)
        together = engine.run(batch).copy()
        for index in range(3):
            np.testing.assert_allclose(
                engine.run(batch[index : index + 1])[0], together[index], atol=2e-6
            )

    def test_takes_slices_of_a_larger_array(self, unet_bundle: Bundle, name: str) -> None:
        engine = build_engine(name, unet_bundle)
        large = frames(1, 6, 20, 20)
        part = large[:, 1:5, 4:16, ::1][:, :, :, 4:12]
        np.testing.assert_array_equal(engine.run(part).copy(), engine.run(part.copy()))

    def test_agrees_with_the_other_engine(self, unet_bundle: Bundle, name: str) -> None:
        reference = build_engine("onnxruntime", unet_bundle).run(frames(1, 5, 24, 32))
        answer = build_engine(name, unet_bundle).run(frames(1, 5, 24, 32))
        np.testing.assert_allclose(answer, reference, atol=1e-5)

    def test_threads_do_not_change_the_answer_beyond_rounding(
        self, unet_bundle: Bundle, name: str
    ) -> None:
        one = build_engine(name, unet_bundle, threads=1).run(frames(1, 5, 16, 16))
        two = build_engine(name, unet_bundle, threads=2).run(frames(1, 5, 16, 16))
        np.testing.assert_allclose(one, two, atol=2e-6)

    def test_says_who_runs_where(self, unet_bundle: Bundle, name: str) -> None:
        engine = build_engine(name, unet_bundle)
        assert engine.name == name
        assert "f32" in engine.device


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_graph_that_is_none_is_a_clear_error(
    tiny_bundle: Bundle, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"this is no graph")
    broken = Bundle(tmp_path, tiny_bundle.manifest, "")
    with pytest.raises(BundleError, match=r"model\.onnx cannot be run by"):
        build_engine(name, broken)


def test_weights_of_another_network_are_a_clear_error(unet_bundle: Bundle) -> None:
    network = {**unet_bundle.manifest.network, "widths": [4, 16]}
    other = unet_bundle.manifest.model_copy(update={"network": network})
    with pytest.raises(BundleError, match=r"does not fit the network that bundle\.yaml describes"):
        build_engine("keras", Bundle(unet_bundle.folder, other, ""))


def test_tiled_equals_untiled_on_the_real_network(unet_bundle: Bundle) -> None:
    engine = build_engine("onnxruntime", unet_bundle)
    values = frames(5, 70, 61)
    whole = Predictor(engine, unet_bundle.manifest).predict(values)
    tiled = Predictor(engine, unet_bundle.manifest, tile_px=16).predict(values)
    np.testing.assert_allclose(tiled, whole, atol=5e-6)


def test_the_answer_depends_on_exactly_the_stated_neighbourhood(tiny_bundle: Bundle) -> None:
    """The tests of tiles and windows mean something only with this network."""
    manifest = tiny_bundle.manifest
    engine = build_engine("onnxruntime", tiny_bundle)
    base = frames(1, 7, 40, 40)
    poked = base.copy()
    poked[0, 3, 20, 20] += 1.0
    change = np.abs(engine.run(poked) - engine.run(base)).max(axis=-1)[0]
    t, y, x = np.nonzero(change > 0)
    assert t.max() - 3 == manifest.receptive_frames == 3 - t.min()
    assert max(y.max() - 20, 20 - y.min(), x.max() - 20, 20 - x.min()) == manifest.receptive_px


def test_bf16_differs_by_no_more_than_its_digits(tiny_bundle: Bundle) -> None:
    exact = build_engine("openvino", tiny_bundle).run(frames(1, 5, 24, 32)).copy()
    rough = build_engine("openvino", tiny_bundle, precision="bf16").run(frames(1, 5, 24, 32))
    np.testing.assert_allclose(rough, exact, atol=5e-2)


@pytest.mark.parametrize("name", sorted(set(ENGINES) - {"openvino"}))
def test_a_precision_that_an_engine_lacks_is_refused(tiny_bundle: Bundle, name: str) -> None:
    with pytest.raises(ConfigError, match=f"engine {name} computes in f32, not bf16"):
        build_engine(name, tiny_bundle, precision="bf16")


class FakeSession:
    """A session that was asked for a GPU and runs on ``running``."""

    running = "CUDAExecutionProvider"

    def __init__(self, _path: str, _options: object, providers: list[str]) -> None:
        assert providers == ["CUDAExecutionProvider", "CPUExecutionProvider"]
        if self.running == "none":
            raise RuntimeError("no CUDA driver")

    def get_providers(self) -> list[str]:
        return [self.running]


@pytest.mark.parametrize(
    ("running", "engine"),
    [
        ("CUDAExecutionProvider", "onnxruntime"),
        ("CPUExecutionProvider", "openvino"),
        ("none", "openvino"),
    ],
)
def test_auto_takes_a_gpu_only_if_it_runs(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, running: str, engine: str
) -> None:
    """onnxruntime-gpu offers CUDA on every machine, and falls back to its CPU in silence."""
    monkeypatch.setattr(onnxruntime_engine, "gpu_provider", lambda: "CUDAExecutionProvider")
    monkeypatch.setattr("onnxruntime.InferenceSession", FakeSession)
    monkeypatch.setattr(FakeSession, "running", running)
    assert build_engine("auto", tiny_bundle).name == engine


def test_auto_without_a_gpu_is_openvino(
    tiny_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime_engine, "gpu_provider", lambda: None)
    assert build_engine("auto", tiny_bundle).name == "openvino"


def test_an_unknown_provider_names_those_there_are(tiny_bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match=r"'NoSuchProvider' is not installed.*CPUExecution"):
        OnnxRuntimeEngine(tiny_bundle, provider="NoSuchProvider")


def test_keras_needs_the_weights(tiny_bundle: Bundle) -> None:
    pytest.importorskip("torch")
    with pytest.raises(BundleError, match="holds no Keras weights"):
        build_engine("keras", tiny_bundle)


def test_openvino_sends_no_report(tiny_bundle: Bundle) -> None:
    """OpenVINO reports its import over the network unless it is kept from it."""
    script = (
        "import sys\n"
        "from hdsmlm.bundle import load_bundle\n"
        "from hdsmlm.inference.engines import build_engine\n"
        "build_engine('openvino', load_bundle(sys.argv[1]))\n"
        "assert 'openvino' in sys.modules\n"
        "assert not any(name.startswith('openvino_telemetry') for name in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tiny_bundle.folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="signal stacks are OpenVINO's on Linux")
def test_a_signal_after_engines_were_dropped_in_any_order(tiny_bundle: Bundle) -> None:
    """With a core each, the second engine would put the freed signal stack of the first back."""
    script = (
        "import signal, sys\n"
        "from hdsmlm.bundle import load_bundle\n"
        "from hdsmlm.inference.engines import build_engine\n"
        "caught = []\n"
        "signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))\n"
        "bundle = load_bundle(sys.argv[1])\n"
        "first, second = (build_engine('openvino', bundle) for _ in range(2))\n"
        "del first\n"
        "del second\n"
        "signal.raise_signal(signal.SIGTERM)\n"
        "assert caught == [signal.SIGTERM]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tiny_bundle.folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stderr}"
