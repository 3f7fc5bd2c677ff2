"""A run of the toy, as a program: alone or as one of several processes that torchrun starts. Tests start it and end it.

python -m tests.training.together FOLDER whole            trains, and writes what it found into FOLDER
python -m tests.training.together FOLDER halted           the same, but stops in the third epoch and waits to be killed
torchrun … -m tests.training.together FOLDER resumed      trains whole, then again interrupted and resumed
"""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import lightning.pytorch as lightning
import torch
from torch import Tensor

from tests.training import toys
from training import checkpoint
from training.devices import rank
from training.train import Trained, train

RECIPE = replace(toys.RECIPE, epochs=4, learning_rate=0.02)

#: In the third epoch, of five steps each.
HALT = 12


class Noted(toys.Rows):
    """Samples that write down who was asked for."""

    def __init__(self, size: int, seed: int) -> None:
        super().__init__(size, seed)
        self.asked: list[int] = []

    def __getitem__(self, index: int) -> tuple[dict[str, Tensor], Tensor]:
        self.asked.append(index)
        return super().__getitem__(index)


class At(lightning.Callback):
    """Does something after a step."""

    def __init__(self, step: int, *, wait: bool) -> None:
        self._step = step
        self._wait = wait

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object, **__: object) -> None:
        if trainer.global_step != self._step:
            return
        if self._wait:
            sys.stdout.write("halted\n")
            sys.stdout.flush()
            sys.stdin.read()
        raise InterruptedError


def run(keep: Path, *, resumed: bool = False, halt: int = 0, wait: bool = False) -> tuple[Trained, dict[str, list[int]]]:
    """Train, and return what came of it and which samples each split was asked for."""
    train_split, validation = Noted(90, seed=1), Noted(31, seed=2)  # 31: shares of two differ
    splits = replace(toys.datasets(), train=train_split, validation=validation)
    spec = replace(toys.spec(), datasets=lambda data_dir: splits)
    callbacks = [At(halt, wait=wait)] if halt else []
    trained = train(spec, RECIPE, device="cpu", keep=keep, resumed=resumed, callbacks=callbacks)
    return trained, {"train": train_split.asked, "validation": validation.asked}


def main() -> None:
    folder, what = Path(sys.argv[1]), sys.argv[2]
    torch.set_num_threads(1)
    if what == "halted":
        run(folder / "toy.unfinished", halt=HALT, wait=True)
    if what == "cut":
        run(folder / "toy.unfinished", halt=HALT)
    keep = folder / ("toy.unfinished" if what == "resumed" else "whole.unfinished")
    trained, asked = run(keep, resumed=what == "resumed")
    checkpoint.save(trained.network, trained.origin, folder / f"{what}-{rank()}")
    scores = {name: asdict(score) for name, score in trained.scores.items()}
    facts = {"asked": asked, "scores": scores, "validation": dict(trained.validation), "epoch": trained.epoch}
    (folder / f"{what}-{rank()}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
