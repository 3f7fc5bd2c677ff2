"""A case of the suite: one small module that knows nothing of Sameway, inputs for it, and what each format makes of it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import nn

from export import eager, foreign_origin
from export.by_task import HeldOut
from export.exporter import BY_TASK, DEFAULTS, FORMATS, ExportSource
from export.foreign_module import evaluating, source_of
from export.subject import Subject
from models.tasks import Classification
from models.tensors import Array

#: Rows that a case gives of each input: enough that small values have a noise floor of their own.
ROWS = 48

#: The largest batch of every case that has batches.
MOST = 8

#: The verdict that is expected where nothing is wrong. Any other is a pattern for what the refusal says.
PASSES = ""

#: What is said of formats that are judged by a score, where nobody knows the targets, or there is nothing but them.
UNJUDGED = "not judged: expected a held-out split|expected samples to calibrate on"


@dataclass(frozen=True, slots=True)
class Case:
    """A module, its inputs, and the verdict expected for each format; where `refused` is given, for all that are not named.

    build      the module, made under a fixed seed
    inputs     real ones by name, [ROWS, …], or under `max_batch_size` 0 one whole request
    refused    PASSES, or a pattern for what every format says, or what is raised before any format is tried
    verdicts   of formats for which it is another
    dynamic    free axes besides the batch axis, as `export_model` takes them
    batched    whether it is to be published with a batch axis
    labels     of how many classes the first output has scores, so that formats of BY_TASK can be judged by how often they
               choose the one that the module itself chooses; 0: they cannot be judged
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[], dict[str, Array]]
    refused: str = PASSES
    verdicts: Mapping[str, str] = field(default_factory=dict)
    dynamic: Mapping[str, Sequence[int]] = field(default_factory=dict)
    max_batch_size: int = MOST
    batched: bool = True
    labels: int = 0

    def expected(self, format: str) -> str:
        """Return the verdict expected for a format."""
        if format in self.verdicts:
            return self.verdicts[format]
        if self.refused == PASSES and format in BY_TASK and not self.labels:
            return UNJUDGED
        return self.refused

    @property
    def equal_formats(self) -> list[str]:
        """The formats that are to pass and to be equal to the eager model: those in which a fault can be planted."""
        return [format for format in FORMATS if format not in BY_TASK and self.expected(format) == PASSES]

    def module(self) -> nn.Module:
        """Return the module, the same on every call."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return self.build()

    @contextmanager
    def subject(self, module: nn.Module) -> Iterator[Subject]:
        """Give what is exported, as `export_model` makes it of a module; raise ExportError."""
        with evaluating(module):
            inputs = self.inputs()
            source = source_of(module, inputs, dynamic=self.dynamic, max_batch_size=self.max_batch_size)
            origin = foreign_origin.origin_of(self.name, module, {}, options=DEFAULTS, source_file=None)
            yield Subject(
                self.name,
                source,
                None,
                foreign_origin.state_digest(module),
                origin,
                held_out=partial(self._held_out, source) if self.labels else None,
                calibration=self.inputs if self.labels else None,
            )

    def _held_out(self, source: ExportSource) -> HeldOut:
        output = source.signature.outputs[0].name
        scores = eager.in_float32(source, source.samples, batch_size=self.max_batch_size).outputs[output]
        return HeldOut(Classification(self.labels, output), source.samples, scores.argmax(-1))


def normal(*shape: int, seed: int = 0) -> Array:
    """Return normally distributed float32."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def whole(high: int, *shape: int, seed: int = 0) -> Array:
    """Return INT64 from 0 to below `high`."""
    return np.random.default_rng(seed).integers(0, high, shape)
