"""How long `import hdsmlm` and `hdsmlm --help` take, as wall time of fresh processes.

Run: ``python benchmarks/import_time.py [--repeat 9]``. The aim is below 0.5 s for each; that the
heavy libraries stay out is asserted without a clock in ``tests/project/test_light_imports.py``.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS: dict[str, list[str]] = {
    "python -c pass": ["-c", "pass"],
    "import hdsmlm": ["-c", "import hdsmlm"],
    "hdsmlm --help": ["-m", "hdsmlm", "--help"],
    "hdsmlm predict --help": ["-m", "hdsmlm", "predict", "--help"],
}


def measure_s(arguments: list[str], repeat: int) -> list[float]:
    """Return the wall time of each of ``repeat`` fresh processes, after one to warm the disk."""
    times_s = []
    for _ in range(repeat + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times_s.append(time.perf_counter() - start)
    return times_s[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=9)
    repeat = parser.parse_args().repeat
    print(f"{'':24} {'median':>8} {'best':>8} {'worst':>8}   seconds, {repeat} processes each")
    for name, arguments in COMMANDS.items():
        times_s = measure_s(arguments, repeat)
        print(
            f"{name:24} {statistics.median(times_s):8.3f} {min(times_s):8.3f} {max(times_s):8.3f}"
        )


if __name__ == "__main__":
    main()
