"""What torch keeps for the backward pass, against the estimate that places trials on GPUs.

Run: ``python benchmarks/training_memory.py``. Counts the tensors that torch's own hooks are given,
without the weights; needs no GPU, and no clock.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

NETWORKS: dict[str, dict[str, Any]] = {
    "wolf": {"up_time": True},
    "two levels": {"widths": (8, 16), "up_time": True},
    "three levels": {"widths": (8, 16, 32)},
    "full resolution, 3D": {
        "widths": (8, 16), "stem_stride": 1, "factorized": False, "head_channels": 8,
    },
}  # fmt: skip


def kept_bytes(config: Any) -> int:
    """Return the bytes that torch keeps of one step's forward pass."""
    import torch

    from hdsmlm.training.model import compile_model

    training = config.training
    model = compile_model(config)
    weights = {v.value.untyped_storage().data_ptr() for v in model.variables}
    kept: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address repeats
        return tensor

    shape = (training.batch_size, training.frames, training.patch_px, training.patch_px)
    frames = torch.zeros((*shape, 1))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        answer = model(frames, training=True)
        model.compute_loss(frames, torch.zeros(shape, dtype=torch.long), answer, torch.ones(shape))
    return sum(
        tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in weights
    )


def main() -> None:
    """Print a line per network and precision."""
    import keras

    from hdsmlm.compute.memory import estimate_memory
    from hdsmlm.config.run import RunConfig

    print("| network | precision | kept, MB | estimated, MB | ratio |")
    print("|---|---|---|---|---|")
    for name, network in NETWORKS.items():
        for precision in ("float32", "mixed_bfloat16"):
            training = {"batch_size": 4, "frames": 5, "patch_px": 64, "precision": precision}
            config = RunConfig.model_validate({"network": network, "training": training})
            kept = kept_bytes(config)
            keras.config.set_dtype_policy("float32")
            estimated = estimate_memory(config, gpu=False).activation_bytes
            row = f"| {name} | {precision} | {kept / 1e6:.1f} | {estimated / 1e6:.1f} "
            print(f"{row}| {estimated / kept:.2f} |")


if __name__ == "__main__":
    main()
