"""The program as a whole: exit codes, usage errors, a real Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import hdsmlm
from hdsmlm.cli import main

# A process that was started in the background may have inherited that it ignores Ctrl-C.
START = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from hdsmlm.cli.main import run; sys.argv[0] = 'hdsmlm'; run()"
)


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["hdsmlm", *arguments])
    with pytest.raises(SystemExit) as stop:
        main.run()
    return (int(stop.value.code or 0), *capsys.readouterr())


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["simulate", "--no-such-option"], "--no-such-option"),
        (["simulate", "--frames", "many"], "--frames"),
        (["nonsense"], "nonsense"),
        (["predict"], "Usage"),
    ],
)
def test_wrong_usage_is_explained_and_exit_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    word: str,
) -> None:
    code, _, err = call(monkeypatch, capsys, *arguments)
    assert code == 2
    assert word in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("argument", "word"), [("--version", f"hdsmlm {hdsmlm.__version__}"), ("--help", "predict")]
)
def test_version_and_help_are_exit_0(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], argument: str, word: str
) -> None:
    code, out, _ = call(monkeypatch, capsys, argument)
    assert code == 0
    assert word in out


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process there")
def test_a_real_ctrl_c_is_one_message_and_exit_130(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["simulate", "--frames", "1000000", "--size", "64x64", "--out", str(out)]
    with subprocess.Popen(
        [sys.executable, "-c", START, *command], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=120)
    assert first.startswith("simulate")
    assert process.returncode == 130
    assert rest.splitlines()[-1] == "stopped: by the user; run the same command again"
    assert rest.count("stopped") == 1
    assert "Traceback" not in rest
    assert list(out.iterdir()) == []


def test_simulate_never_replaces_a_movie_unasked(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hdsmlm", "simulate", "--out", str(tmp_path / "movie")]
    size = ["--frames", "2", "--size", "16x16", "--density", "1"]
    subprocess.run([*command, *size], check=True, capture_output=True)
    before = (tmp_path / "movie" / "truth.csv").read_bytes()
    refused = subprocess.run(
        [*command, *size, "--seed", "5"], check=False, capture_output=True, text=True
    )
    assert refused.returncode == 2
    assert "--overwrite" in refused.stderr
    assert (tmp_path / "movie" / "truth.csv").read_bytes() == before
    subprocess.run([*command, *size, "--seed", "5", "--overwrite"], check=True, capture_output=True)
    assert (tmp_path / "movie" / "truth.csv").read_bytes() != before
