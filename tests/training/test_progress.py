import io
import re
from dataclasses import replace

import lightning.pytorch as lightning
import pytest
from rich.console import Console

from tests.training import toys
from training.progress import ProgressBar, ProgressLines
from training.train import train

RECIPE = replace(toys.RECIPE, epochs=10)


class Stop(lightning.Callback):
    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object, **__: object) -> None:
        raise KeyboardInterrupt


def terminal() -> tuple[Console, io.StringIO]:
    """Return a terminal of 80 columns, and what was written on it."""
    written = io.StringIO()
    return Console(file=written, force_terminal=True, width=80, color_system=None, legacy_windows=False), written


def test_a_log_gets_a_line_for_each_epoch() -> None:
    lines: list[str] = []
    train(toys.spec(), RECIPE, device="cpu", callbacks=[ProgressLines(lines.append)])
    assert len(lines) == 10
    for number, line in enumerate(lines, start=1):
        scores = r"loss \d\.\d{4}  validation accuracy \d\.\d{4}  validation loss \d\.\d{4}"
        assert re.fullmatch(rf"epoch {number:>2}/10  {scores}  \d+\.\d s", line), line


def test_a_terminal_gets_one_bar_that_fits_and_ends_full() -> None:
    console, written = terminal()
    train(toys.spec(), RECIPE, device="cpu", callbacks=[ProgressBar(console)])
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue())
    last = re.split(r"[\r\n]+", text.strip())[-1]
    assert re.search(r"^epoch 10/10 ━+ 100 % \d:\d\d:\d\d accuracy \d\.\d{4}  loss \d\.\d{4}$", last.strip()), last
    assert len(last) <= 80
    assert text.count("\n") == 1


def test_an_interrupted_bar_gives_the_terminal_back() -> None:
    console, written = terminal()
    with pytest.raises(KeyboardInterrupt):
        train(toys.spec(), RECIPE, device="cpu", callbacks=[ProgressBar(console), Stop()])
    hidden, shown = "\x1b[?25l", "\x1b[?25h"
    assert written.getvalue().count(hidden) == written.getvalue().count(shown) == 1
