"""F1, recall and precision of a model by its decoding threshold, on scenes like the test set's.

Run: ``python benchmarks/decoding_threshold.py wolf``. The cases are those of the test set, the seed
is another one: so a threshold can be chosen for what the scores are of, and the test set stays what
nothing was chosen on. The last line
is the lowest threshold within 0.002 of the best F1.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from hdsmlm.bundle import load_bundle
from hdsmlm.config.test_set import TestSetConfig
from hdsmlm.pipelines.calibrate import lowest_good_threshold
from hdsmlm.pipelines.test_set import score_bundle

THRESHOLDS = (0.35, 0.375, 0.4, 0.425, 0.45, 0.475, 0.5)
DEVELOPMENT_SEED = 991


def main() -> None:
    """Print a line per threshold, then the one that the rule takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="shipped model, or folder of a bundle")
    parser.add_argument("--seed", type=int, default=DEVELOPMENT_SEED)
    arguments = parser.parse_args()
    if arguments.seed == TestSetConfig().seed:
        parser.error("that is the test set: nothing is chosen on it")
    bundle, cases = load_bundle(arguments.model), TestSetConfig(seed=arguments.seed, reference=())
    f1 = {}
    print("| threshold | F1 | recall | precision |")
    print("|---|---|---|---|")
    for threshold in THRESHOLDS:
        decoding = bundle.manifest.decoding.model_copy(update={"threshold": threshold})
        manifest = bundle.manifest.model_copy(update={"decoding": decoding})
        scores = score_bundle(replace(bundle, manifest=manifest), cases).to_dict()
        found = scores["headline_tier1"]
        f1[threshold] = found["f1"]
        row = " | ".join(f"{found[name]:.4f}" for name in ("f1", "recall", "precision"))
        print(f"| {threshold:g} | {row} |", flush=True)
    print(f"lowest within the tolerance: {lowest_good_threshold(f1):g}")


if __name__ == "__main__":
    main()
