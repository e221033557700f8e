"""Stands in for training in a worker: as quick as a file, with the faults that a test asks for."""

import json
import os
import signal
from pathlib import Path


def run(config, folder, tracking=None, stop_step=None):
    """Score a run by a formula; the name of the folder of the marks is in start_from."""
    training = config["training"]
    rate, seed = training["schedule"]["learning_rate"], training["seed"]
    marks = Path(os.environ["TRIAL_MARKS"])
    number = int(config["name"].rsplit("-", 1)[-1])
    with (marks / "calls.txt").open("a") as stream:
        stream.write(f"{number} {stop_step} {training['batch_size']} {seed}\n")
    names = ("KERAS_BACKEND", "MLFLOW_TRACKING_URI", "HDSMLM_LEASES")
    found = {name: os.environ[name] for name in names if name in os.environ}
    (marks / f"environment{number}").write_text(json.dumps(found))
    fault = marks / f"fault{number}"
    scores = {"f1": 1.0 - abs(rate - 0.01) * 10, "loss": abs(rate - 0.01)}
    if fault.exists():
        word = fault.read_text()
        if word == "once":
            fault.unlink()
        if word in ("once", "die"):
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "memory" and training["batch_size"] > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 3.00 GiB")
        if word == "error":
            raise ValueError("a fault on purpose")
        if word == "silent":
            del scores["f1"]
        if word == "wait":
            (marks / f"waits{number}").touch()
            while fault.exists():
                pass_time()
    bundle = Path(folder) / "bundle"
    bundle.mkdir(parents=True, exist_ok=True)
    (bundle / "bundle.yaml").write_text(json.dumps({"trial": number}))
    step = stop_step or training["steps"]
    return {
        "complete": stop_step is None,
        "scores": scores,
        "step": step,
        "seconds": 1.0,
        "run_id": "",
    }


def pass_time():
    import time

    time.sleep(0.05)
