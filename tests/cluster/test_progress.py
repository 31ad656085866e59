from __future__ import annotations

import io
import os
from contextlib import suppress
from typing import IO, cast

import pytest
from fake_events import fake_run
from rich.console import Console

from cluster.output import SurvivingStream
from cluster.progress import (
    LivePanel,
    PlainLines,
    Standing,
    make_display,
    panel,
    standing_line,
)


def test_plain_lines_where_there_is_no_terminal() -> None:
    text = io.StringIO()
    display = make_display(Console(file=text, width=80))
    assert isinstance(display, PlainLines)
    for seconds, event in fake_run():
        display.observe(event, seconds)
    display.close()
    lines = text.getvalue().splitlines()
    standing = [line for line in lines if "tasks/s" in line]
    assert 2 <= len(standing) <= 5  # 12 seconds of run
    words = "phase 1 blocks, 52/120 tasks, CSR 34.6 %, M+ 80 M- 80, codes 20 used 5 dead, "
    assert words + "perplexity 16.0, version 2" in standing[1]
    assert "left" in standing[1]
    assert any("after phase 1, restricted: CSR 90.0 %" in line for line in lines)
    assert "the accounting closes" in lines[-1]
    assert "\x1b" not in text.getvalue()


def test_a_panel_in_a_terminal() -> None:
    text = io.StringIO()
    display = make_display(Console(file=text, width=80, force_terminal=True))
    assert isinstance(display, LivePanel)
    for seconds, event in fake_run():
        display.observe(event, seconds)
    display.close()
    display.close()
    shown = text.getvalue()
    for words in ("phase", "M+ entries", "codes dead", "perplexity", "time left", "probes"):
        assert words in shown
    assert "\x1b[?25h" in shown  # the cursor is back


def test_nothing_known_yet_is_a_dash() -> None:
    standing = Standing()
    assert standing_line(standing).startswith("starting")
    standing.name = "fake"
    line = standing_line(standing)
    assert "CSR -" in line
    assert "- left" in line
    text = io.StringIO()
    Console(file=text, width=40).print(panel(Standing()))
    assert max(len(line) for line in text.getvalue().splitlines()) <= 40


@pytest.mark.parametrize("terminal", [False, True])
def test_a_window_that_was_closed_does_not_stop_the_run(terminal: bool) -> None:
    reader, writer = os.pipe()
    with open(writer, "w") as stream:
        survivor = cast(IO[str], SurvivingStream(stream))
        display = make_display(Console(file=survivor, force_terminal=terminal))
        for place, (seconds, event) in enumerate(fake_run()):
            if place == 5:
                os.close(reader)
            display.observe(event, seconds)
        display.close()


def test_a_full_disk_behind_the_output_is_not_hidden() -> None:
    stream = open("/dev/full", "w")  # noqa: SIM115 - closing it fails
    stream.write("what fits into the buffer")
    with pytest.raises(OSError, match="No space left"):
        SurvivingStream(stream).flush()
    with suppress(OSError):
        stream.close()
