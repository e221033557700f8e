"""Progress lines say rate and time left, and are few."""

from __future__ import annotations

import io

from rich.console import Console

from hdsmlm.cli.progress import PlainProgress, progress_bar
from hdsmlm.records.events import Event


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_stage_gives_a_line_at_its_start_every_ten_seconds_and_at_its_end() -> None:
    clock, lines = Clock(), []
    plain = PlainProgress(lines.append, clock)
    for second in range(0, 101):
        clock.now_s = float(second)
        plain.hear(Event("predict", second * 2, 200, "busy"))
    assert len(lines) == 11
    assert lines[0] == "predict: 0/200 frames  busy"
    assert lines[5] == "predict: 100/200 frames, 2 frames/s, 0:50 left  busy"
    assert lines[-1] == "predict: 200/200 frames, 2 frames/s  busy"


def test_a_resumed_run_does_not_count_the_frames_of_before() -> None:
    clock, lines = Clock(), []
    plain = PlainProgress(lines.append, clock)
    plain.hear(Event("predict", 900, 1000, ""))
    clock.now_s = 20.0
    plain.hear(Event("predict", 920, 1000, ""))
    assert lines[-1] == "predict: 920/1000 frames, 1 frames/s, 1:20 left"


def test_a_stage_keeps_its_clock_while_another_comes_between() -> None:
    clock, lines = Clock(), []
    plain = PlainProgress(lines.append, clock)
    for now_s, event in (
        (0.0, Event("localize", 0, 100, "")),
        (1.0, Event("normalize", 50, 100, "")),
        (2.0, Event("normalize", 100, 100, "")),
        (9.9, Event("localize", 64, 100, "")),
        (10.0, Event("localize", 100, 100, "")),
    ):
        clock.now_s = now_s
        plain.hear(event)
    assert lines[-1] == "localize: 100/100 frames, 10 frames/s"


def test_a_stage_that_is_run_again_counts_from_its_new_start() -> None:
    clock, lines = Clock(), []
    plain = PlainProgress(lines.append, clock)
    for now_s, stage, done in (
        (0, "a", 50),
        (1, "a", 100),
        (2, "b", 1),
        (90, "a", 50),
        (91, "a", 100),
    ):
        clock.now_s = float(now_s)
        plain.hear(Event(stage, done, 100, ""))
    assert lines[-2:] == ["a: 50/100 frames", "a: 100/100 frames, 50 frames/s"]


def test_without_a_terminal_there_are_plain_lines() -> None:
    stream = io.StringIO()
    with progress_bar(Console(file=stream, width=200)) as listener:
        listener(Event("predict", 0, 10, "start"))
        listener(Event("predict", 10, 10, "end"))
    assert [line[:15] for line in stream.getvalue().splitlines()] == [
        "predict: 0/10 f", "predict: 10/10 ",
    ]  # fmt: skip


def test_a_terminal_gets_a_bar_for_each_stage() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=120, color_system=None)
    with progress_bar(console) as listener:
        for stage in ("normalize", "predict"):
            for done in range(0, 11, 5):
                listener(Event(stage, done, 10, f"{done} done"))
    text = stream.getvalue()
    assert "normalize" in text
    assert "10/10 frames" in text
    assert "10 done" in text


def test_fast_rates_are_written_out() -> None:
    clock, lines = Clock(), []
    plain = PlainProgress(lines.append, clock)
    plain.hear(Event("normalize", 0, 90_120, ""))
    clock.now_s = 10.0
    plain.hear(Event("normalize", 90_120, 90_120, ""))
    assert lines[-1] == "normalize: 90120/90120 frames, 9012 frames/s"
