"""Parity as a manifest records it: what an artifact was tried on, how far it was from the eager model, and what was allowed.

`export/parity.py` finds it, the manifest carries it, and nobody needs torch to read it.
"""

from dataclasses import dataclass

from models import fields


@dataclass(frozen=True, slots=True)
class OutputParity:
    """One output of an artifact against the eager model, over all batch sizes tried.

    Errors are the largest over all samples: `max_absolute`; `max_relative` and `max_ulp` (units in the last place of the
    reference) over elements whose reference is not 0. `min_cosine` is the smallest cosine of a sample's answer with its
    reference. `worst_sample` is the row of the largest error. `equal_decisions` is the share of equal elements of an
    integer output, None for others.

    `tolerance` is what was allowed: a multiple of `noise_floor`, what the eager model differs from itself, unless `atol`
    and `rtol` say that it was stated. The floor is the largest of `floor_float64` (float32 against float64),
    `floor_alone` (a row alone against the same row in a batch) and `floor_ulp` (4 units in the last place of the output's
    scale). A `random` output, of which the eager model itself gives two answers, has none of these numbers: it is judged
    by shape, datatype and finiteness. None: not measured, as in manifests of before.
    """

    output: str
    max_absolute: float
    max_relative: float
    noise_floor: float
    tolerance: float
    equal_decisions: float | None
    worst_sample: int
    passed: bool
    random: bool = False
    max_ulp: float | None = None
    min_cosine: float | None = None
    floor_float64: float | None = None
    floor_alone: float | None = None
    floor_ulp: float | None = None
    atol: float | None = None
    rtol: float | None = None

    @classmethod
    def from_json(cls, json: fields.Fields) -> "OutputParity":
        """Read one output's parity."""
        return cls(
            output=fields.text(json, "output"),
            max_absolute=fields.number(json, "max_absolute"),
            max_relative=fields.number(json, "max_relative"),
            noise_floor=fields.number(json, "noise_floor"),
            tolerance=fields.number(json, "tolerance"),
            equal_decisions=fields.optional(json, "equal_decisions", fields.number),
            worst_sample=fields.count(json, "worst_sample"),
            passed=fields.boolean(json, "passed"),
            random=fields.optional(json, "random", fields.boolean) or False,
            max_ulp=fields.optional(json, "max_ulp", fields.number),
            min_cosine=fields.optional(json, "min_cosine", fields.number),
            floor_float64=fields.optional(json, "floor_float64", fields.number),
            floor_alone=fields.optional(json, "floor_alone", fields.number),
            floor_ulp=fields.optional(json, "floor_ulp", fields.number),
            atol=fields.optional(json, "atol", fields.number),
            rtol=fields.optional(json, "rtol", fields.number),
        )


@dataclass(frozen=True, slots=True)
class EdgeParity:
    """One input at the edge of what its datatype holds, the others real: an artifact against the eager model.

    `judged` of all `values` in the answers were compared, others being for rounding to decide (see export/edges.py); none
    were where `remark` says that the edge was skipped, and why. It also says where a file's runtime has ways of its own.
    """

    input: str
    edge: str
    values: int
    judged: int
    passed: bool
    remark: str

    @classmethod
    def from_json(cls, json: fields.Fields) -> "EdgeParity":
        """Read what became of one edge."""
        return cls(
            input=fields.text(json, "input"),
            edge=fields.text(json, "edge"),
            values=fields.count(json, "values"),
            judged=fields.count(json, "judged"),
            passed=fields.boolean(json, "passed"),
            remark=fields.text(json, "remark"),
        )


@dataclass(frozen=True, slots=True)
class TaskParity:
    """What an artifact that is not the eager model any more, on purpose, costs at the model's task, on its held-out split.

    `eager` and `artifact` are scores by `metric`, over `samples`. `drop` is how much worse the artifact is, as a share, with
    its 95 % interval by the paired bootstrap; `most` is what it may be: even the upper end must not be above.
    """

    metric: str
    samples: int
    eager: float
    artifact: float
    drop: float
    low: float
    high: float
    most: float

    @property
    def passed(self) -> bool:
        """Whether the artifact is good enough, whichever samples had been drawn."""
        return self.high <= self.most

    @classmethod
    def from_json(cls, json: fields.Fields) -> "TaskParity":
        """Read what an artifact costs."""
        numbers = ("eager", "artifact", "drop", "low", "high", "most")
        try:
            return cls(
                fields.text(json, "metric"), fields.count(json, "samples"), *(fields.number(json, name) for name in numbers)
            )
        except fields.FieldError as error:
            raise fields.FieldError(f"task.{error.field}", expected=error.expected, found=error.found) from None


@dataclass(frozen=True, slots=True)
class ParityReport:
    """One artifact against the eager model: what was tried, and what came out for every output.

    `batch_sizes` holds a 0 where there is no batch axis and requests ran alone. `edges` are inputs at the limits of their
    datatypes. `before_last` are tensors inside: what enters the last step of an output, which may hide a fault; their
    names are of the form "probabilities before softmax". `task` judges an artifact that is not meant to be equal, whose
    outputs then only have to resemble the eager model's; None for all others. `notes` are sentences on what was found
    besides, or could not be looked at.
    """

    format: str
    batch_sizes: tuple[int, ...]
    samples: int
    outputs: tuple[OutputParity, ...]
    notes: tuple[str, ...] = ()
    edges: tuple[EdgeParity, ...] = ()
    before_last: tuple[OutputParity, ...] = ()
    task: TaskParity | None = None

    @property
    def passed(self) -> bool:
        """Whether every output stayed within its tolerance, before its last step and at the edges too."""
        outputs = (*self.outputs, *self.before_last)
        good = self.task is None or self.task.passed
        return good and all(output.passed for output in outputs) and all(edge.passed for edge in self.edges)

    @classmethod
    def from_json(cls, json: fields.Fields) -> "ParityReport":
        """Read a parity report."""
        return cls(
            format=fields.text(json, "format"),
            batch_sizes=fields.integers(json, "batch_sizes"),
            samples=fields.count(json, "samples"),
            outputs=fields.items(json, "outputs", OutputParity.from_json),
            notes=fields.optional(json, "notes", fields.texts) or (),
            edges=() if json.get("edges") is None else fields.items(json, "edges", EdgeParity.from_json),
            task=None if json.get("task") is None else TaskParity.from_json(fields.record(json, "task")),
            before_last=() if json.get("before_last") is None else fields.items(json, "before_last", OutputParity.from_json),
        )
