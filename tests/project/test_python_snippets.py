"""The lines of ``docs/how-to/from-python.md`` run as they stand there, on a smaller movie."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "from-python.md"


def test_from_python(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (simulate,) = re.findall(r"```bash\n(.*?)\n```", text, re.S)
    words = simulate.replace("--frames 48 --size 64x64", "--frames 20 --size 32x32").split()[1:]
    subprocess.run([sys.executable, "-m", "hdsmlm", *words], cwd=tmp_path, check=True)
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    local = [block for block in blocks if "Client(" not in block]  # the server has its own tests
    assert len(local) == len(blocks) - 1 >= 5
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(local)],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "absent.tif: no such file" in done.stdout
    for name in ("table.hdf5", "blinks.csv", "good.csv", "first.csv", "result/count_map.tif"):
        assert (tmp_path / name).is_file()
