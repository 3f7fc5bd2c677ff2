"""At the edges: no alarm where rounding or overflow decides, and every fault that real samples would not show."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from export import eager, edge_parity, edges, reference, runtime_ways
from export.edge_parity import EdgeComparison
from export.edges import Edge
from export.exporter import ExportSource, Run, exporter_of
from export.publish import publish
from export.subject import Subject
from models.repository import Repository
from models.tensors import Array, Signature, Tensors, TensorSpec
from tests.export import checkpoints, modules

Y = TensorSpec("y", "FP32", (3,))
SOURCES = [
    modules.classifier, modules.ranker, modules.tagger, modules.listener, modules.single, modules.stateful,
]  # fmt: skip


def measured(source: ExportSource) -> dict[tuple[str, str], Edge]:
    found = edges.measure(source, reference.measure(source))
    assert found.dependence is None
    return {(edge.input, edge.name): edge for edge in found.edges}


def judged(edge: Edge, output: str = "y") -> int:
    """Return how many values of the edge's own row are judged."""
    return int(np.count_nonzero(edge.outputs[output].judged[edge.place, ...]))


def of(function: Callable[[Tensor], Tensor], *, samples: Array | None = None) -> ExportSource:
    return modules.of(lambda x: (function(x),), Y, samples=modules.numbers(40, 3) if samples is None else samples)


def honest(source: ExportSource) -> Run:
    """Return the eager model as an artifact."""

    def run(inputs: Tensors) -> dict[str, Array]:
        rows = len(next(iter(inputs.values())))
        return eager.in_float32(source, inputs, batch_size=rows).outputs

    return run


def compare(source: ExportSource, run: Run, *, ways: tuple[str, ...] = ()) -> EdgeComparison:
    found = edges.measure(source, reference.measure(source))
    return edge_parity.compare(run, source.signature, found.edges, ways=ways)


@pytest.mark.parametrize("format", modules.EQUAL)
@pytest.mark.parametrize("make", SOURCES, ids=lambda make: make.__name__)
def test_an_honest_file_passes_at_every_edge(format: str, make: Callable[[], ExportSource], tmp_path: Path) -> None:
    source = make()
    exporter = exporter_of(format)
    path = tmp_path / exporter.filename
    exporter.export(source, path)
    comparison = compare(source, exporter.open(path, source.signature), ways=runtime_ways.ways(path))
    assert comparison.faults == ()
    assert all(edge.passed for edge in comparison.edges)
    assert sum(edge.judged for edge in comparison.edges) > 0
    assert bool(comparison.notes) == (format == "onnx" and make is modules.listener)  # ONNX Runtime's GRU loses NaN


class Normalising(nn.Module):
    """Layers that divide by what may be 0: constant inputs leave only rounding to be divided."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.InstanceNorm2d(4, affine=True), nn.SiLU())
        self.second = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.AdaptiveMaxPool2d(1))
        self.last = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 3))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.second(self.first(image.unsqueeze(1)))
        logits = self.last(features.flatten(1))
        return logits / logits.std(1, keepdim=True), logits.argmax(1)


@pytest.mark.parametrize("datatype", ["FP32", "UINT8"])
@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_no_alarm_where_rounding_is_all_there_is(format: str, datatype: str, tmp_path: Path) -> None:
    class Whole(Normalising):
        def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
            return super().forward(image.float() / 7)

    torch.manual_seed(0)
    images = modules.numbers(40, 49).reshape(40, 7, 7)
    images = (images * 40 + 128).clip(0, 255).astype(np.uint8) if datatype == "UINT8" else images
    signature = Signature((TensorSpec("image", datatype, (7, 7)),), (Y, TensorSpec("class", "INT64", ())), modules.MOST)
    source = ExportSource(Whole().eval(), signature, {"image": images})
    exporter = exporter_of(format)
    path = tmp_path / exporter.filename
    exporter.export(source, path)
    assert compare(source, exporter.open(path, signature), ways=runtime_ways.ways(path)).faults == ()


def test_what_overflow_or_luck_decides_is_not_judged() -> None:
    summed = measured(of(lambda x: x.sum(1, keepdim=True).expand(-1, 3)))
    assert judged(summed["x", "extremes"]) == 0
    assert judged(summed["x", "large"]) == judged(summed["x", "one ∞"]) == judged(summed["x", "zeros"]) == 3
    normalised = measured(of(lambda x: (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)))
    assert judged(normalised["x", "denormals"]) == 0  # squared in float64 within
    assert judged(normalised["x", "NaN"]) == 3
    assert judged(measured(of(torch.sigmoid))["x", "extremes"]) == 3


def test_a_mask_of_the_most_negative_number_is_no_overflow() -> None:
    lowest = float(np.finfo(np.float32).min)
    assert judged(measured(of(lambda x: torch.where(x < -5, lowest, x + lowest * (x > 5)).softmax(1)))["x", "zeros"]) == 3


def test_an_edge_at_which_the_model_fails_is_skipped_with_its_words() -> None:
    source = modules.ranker()
    found = measured(source)
    skipped = {name: edge.skipped for name, edge in found.items() if edge.skipped}
    assert set(skipped) == {("kind", "smallest"), ("kind", "largest")}
    assert skipped["kind", "largest"] == "the eager model fails on 3 rows: IndexError: index out of range in self"
    comparison = compare(source, honest(source))
    assert comparison.faults == ()
    by_edge = {(edge.input, edge.edge): edge for edge in comparison.edges}
    assert by_edge["kind", "largest"].remark == f"skipped: {skipped['kind', 'largest']}"
    assert (by_edge["kind", "largest"].judged, by_edge["kind", "zeros"].judged) == (0, 6)


def changed(change: Callable[[Array], Array], function: Callable[[Array], Array]) -> Run:
    """Return an artifact that changes its input first."""

    def run(inputs: Tensors) -> dict[str, Array]:
        with np.errstate(all="ignore"):
            return {"y": function(change(inputs["x"]))}

    return run


def flushed(x: Array) -> Array:
    """Take denormals for zeros."""
    return np.asarray(np.where(np.abs(x) < np.finfo(np.float32).tiny, np.float32(0), x))


def poisoning(x: Array) -> Array:
    """Let one row's NaN into all."""
    return np.asarray(x + np.float32(0) * x.sum(0, keepdims=True))


def refusing(x: Array) -> Array:
    """Be careful, where the model is not."""
    if np.isnan(x).any():
        raise ValueError("input contains NaN")
    return x


@pytest.mark.parametrize(
    ("change", "edge"),
    [
        (lambda x: x.clip(-1e6, 1e6), "x at large: output 'y': "),
        (lambda x: np.nan_to_num(x, posinf=np.inf, neginf=-np.inf), "x at NaN: output 'y': 3 of 9 judged values are off"),
        (lambda x: np.nan_to_num(x, nan=np.nan), "x at one ∞: output 'y': "),
        (lambda x: np.where(np.isinf(x), np.nan, x), "x at one −∞: output 'y': "),
        (flushed, "x at denormals: output 'y': 3 of 9 judged values are off"),
        (lambda x: x.astype(np.float16).astype(np.float32), "x at large: output 'y': "),
        (poisoning, "x at NaN: output 'y': of the real rows beside it, 6 of 9 judged values are off, such as: expected "),
        (refusing, "x at NaN: cannot be run: ValueError: input contains NaN"),
        (lambda x: x.astype(np.float64), "x at zeros: output 'y': expected float32 [3, 3], found float64 [3, 3]"),
    ],
)
def test_a_file_with_ways_of_its_own_is_found(change: Callable[[Array], Array], edge: str) -> None:
    # Denormals become numbers that count by a large factor; infinity must not come from a smaller number.
    factor = 1e20 if change is flushed else 0.5
    source = of(lambda x: x * factor)
    comparison = compare(source, honest(source))
    assert comparison.faults == ()
    comparison = compare(source, changed(change, lambda x: x * x.dtype.type(factor)))
    assert any(fault.startswith(edge) for fault in comparison.faults)
    assert not all(parity.passed for parity in comparison.edges)


def test_a_zero_that_loses_its_sign_where_that_counts() -> None:
    source = of(lambda x: torch.atan2(x, -torch.ones_like(x)))
    assert compare(source, honest(source)).faults == ()
    unsigned = changed(lambda x: x + np.float32(0), lambda x: np.arctan2(x, -np.ones_like(x)))
    assert [fault.split(":")[0] for fault in compare(source, unsigned).faults] == ["x at ±0"]


def test_a_whole_number_that_is_too_large_for_a_file() -> None:
    signature = Signature((TensorSpec("x", "INT64", ()),), (TensorSpec("y", "FP32", ()),), modules.MOST)

    class Half(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (x.float() / 2,)

    source = ExportSource(Half().eval(), signature, {"x": np.arange(40)})
    narrow: Run = lambda inputs: {"y": inputs["x"].astype(np.int32).astype(np.float32) / 2}  # noqa: E731 - one line
    assert [fault.split(":")[0] for fault in compare(source, narrow).faults] == ["x at smallest", "x at largest"]


def test_what_the_runtime_is_known_for_is_noted_and_other_faults_are_not_excused() -> None:
    source = of(lambda x: x * 2)
    replacing = changed(lambda x: np.nan_to_num(x, posinf=np.inf, neginf=-np.inf), lambda x: x * np.float32(2))
    comparison = compare(source, replacing, ways=("MaxPool",))
    assert comparison.faults == ()
    assert comparison.notes[0] == (
        "x at NaN: output 'y': 3 of 9 judged values are off, such as: expected nan, found 0, by the runtime's MaxPool"
    )
    assert next(edge for edge in comparison.edges if edge.edge == "NaN").remark.startswith("MaxPool: output 'y': ")
    clamping = changed(lambda x: x.clip(-1e6, 1e6), lambda x: x * np.float32(2))
    assert any(fault.startswith("x at large: ") for fault in compare(source, clamping, ways=("MaxPool",)).faults)


def test_decisions_are_judged_where_their_scores_are_clear() -> None:
    weights = torch.tensor([[1.0, -1.0, 0.5]]).T
    source = modules.of(
        lambda x: ((x @ weights + torch.arange(3.0)).argmax(1),),
        TensorSpec("y", "INT64", ()),
        samples=modules.numbers(40, 3),
    )
    found = measured(source)
    assert judged(found["x", "zeros"]) == judged(found["x", "denormals"]) == 1
    # A tie to float32, when something large is added to all scores.
    assert judged(found["x", "large"]) == judged(found["x", "NaN"]) == judged(found["x", "extremes"]) == 0
    wrong: Run = lambda inputs: {"y": np.where(inputs["x"].any(1), honest(source)(inputs)["y"], 0)}  # noqa: E731
    assert [fault.split(":")[0] for fault in compare(source, wrong).faults] == ["x at zeros", "x at ±0"]


def test_rows_that_only_nan_lets_look_at_each_other_are_found_and_served_alone(tmp_path: Path) -> None:
    source = of(lambda x: x + 0 * x.sum(0))
    assert reference.measure(source).dependence is None
    found = edges.measure(source, reference.measure(source))
    assert found.dependence == "y: rows are not independent: NaN in 'x' of one row changes the row beside it"
    publication = publish(Subject("toy", source, None, "c" * 64, checkpoints.ORIGIN), Repository(tmp_path), ["torchscript"])
    assert publication.version is not None
    assert publication.version.manifest.signature.max_batch_size == 0
    assert publication.notes == (f"max_batch_size 0: requests run alone, as {found.dependence}",)


def test_edges_are_part_of_the_manifest_and_a_fault_at_one_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = type(exporter_of("torchscript"))
    source = of(lambda x: x * 2)
    subject = Subject("toy", source, None, "c" * 64, checkpoints.ORIGIN)
    version = publish(subject, Repository(tmp_path), ["torchscript"]).version
    assert version is not None
    report = version.manifest.artifacts[0].parity
    assert [edge.edge for edge in report.edges] == [
        "zeros", "±0", "denormals", "large", "extremes", "NaN", "one NaN", "one ∞", "one −∞",
    ]  # fmt: skip
    assert report.passed
    opened = exporter.open

    def cleaning(self: object, path: Path, signature: object) -> Run:
        run = opened(self, path, source.signature)  # type: ignore[arg-type]  # what monkeypatch replaces
        return lambda inputs: {name: np.nan_to_num(array) for name, array in run(inputs).items()}

    monkeypatch.setattr(exporter, "open", cleaning)
    publication = publish(subject, Repository(tmp_path), ["torchscript"])
    assert publication.version is None
    (result,) = publication.results
    assert result.faults[0].startswith("x at NaN: output 'y': 3 of ")
    assert not result.passed
