"""docs/learning-path.md: every point of the study plan stands there, in the plan's order, with lines that run and assert.

The plan is written down here as data, so that a point cannot be dropped from the page unnoticed. The lines of a section
share one namespace, as a reader who types them into a prompt has one, and run in an empty folder.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "learning-path.md"

#: The plan: its sections, the headings inside them ("" where there is none), and the points under each, as it words them.
PLAN: dict[str, dict[str, tuple[str, ...]]] = {
    "1. Mathematics Fundamentals": {
        "Linear Algebra": (
            "Vectors, Matrices, and Tensors",
            "Matrix operations (addition, multiplication, inverse, transpose)",
            "Eigenvalues and Eigenvectors",
            "Singular Value Decomposition (SVD)",
        ),
        "Calculus": (
            "Derivatives and Partial Derivatives",
            "Chain Rule (important for backpropagation)",
            "Gradient Descent and Optimization",
        ),
        "Probability & Statistics": (
            "Probability distributions (Normal, Bernoulli, Poisson)",
            "Bayes’ Theorem",  # noqa: RUF001 - the plan's own apostrophe
            "Mean, Variance, Standard Deviation",
            "Hypothesis Testing and Confidence Intervals",
        ),
    },
    "2. Programming Skills (Python)": {
        "": (
            "Data Structures (Lists, Dictionaries, Tuples, Sets)",
            "Loops and Conditional Statements",
            "Functions and Object-Oriented Programming (OOP)",
            "List Comprehensions and Lambda Functions",
            "File Handling (CSV, JSON, TXT)",
        ),
        "Useful libraries": (
            "NumPy (for numerical computing)",
            "Pandas (for data manipulation)",
            "Matplotlib/Seaborn (for visualization)",
        ),
    },
    "3. Machine Learning Basics": {
        "": (
            "Supervised Learning (Regression, Classification)",
            "Unsupervised Learning (Clustering, Dimensionality Reduction)",
            "Feature Engineering (Scaling, Normalization, Encoding)",
            "Evaluation Metrics (Accuracy, Precision, Recall, RMSE, F1-Score)",
            "Scikit-Learn",
        ),
    },
    "4. Deep Learning Concepts": {
        "": (
            "Neural Networks (Perceptron, Multi-Layer Perceptron - MLP)",
            "Activation Functions (ReLU, Sigmoid, Tanh, Softmax)",
            "Loss Functions (Cross-Entropy, MSE, MAE)",
            "Optimization Algorithms (SGD, Adam, RMSprop)",
            "Backpropagation & Gradient Descent",
        ),
    },
    "5. PyTorch Basics": {
        "": (
            "Tensors (PyTorch’s core data structure)",  # noqa: RUF001
            "Tensor Operations (Reshaping, Slicing, Broadcasting)",
            "Autograd & Computational Graphs",
            "Building Simple Neural Networks",
            "Using GPU Acceleration (CUDA)",
        ),
    },
    "6. Working with Datasets": {
        "": (
            "Loading datasets using torchvision and torchtext",
            "Custom datasets with torch.utils.data.Dataset",
            "DataLoader for batch processing",
            "Image processing using PIL & OpenCV",
        ),
    },
    "7. Model Training & Evaluation": {
        "": (
            "Model building using torch.nn.Module",
            "Training loops (forward pass, loss computation, backward pass)",
            "Optimization using torch.optim",
            "Model evaluation and hyperparameter tuning",
            "Saving & loading models",
        ),
    },
    "8. (Optional) Deployment & Advanced Topics": {
        "": (
            "ONNX for model deployment",
            "TorchScript for model optimization",
            "Integrating PyTorch with Flask or FastAPI",
            "Distributed Training with PyTorch Lightning",
        ),
    },
}

RESOURCES = (
    "Mathematics: [3Blue1Brown](https://www.3blue1brown.com/), Khan Academy",
    "Python: Python Crash Course (Eric Matthes)",
    "Machine Learning: Hands-on ML with Scikit-Learn, Keras, and TensorFlow (Aurélien Géron)",
    "Deep Learning: Deep Learning with PyTorch (Eli Stevens)",
    "PyTorch Documentation: [pytorch.org](https://pytorch.org/)",
)


#: Lines of a snippet: it is to be read at a glance, and what takes more is two.
MOST_LINES = 12


@dataclass
class Point:
    """A point on the page: the headings it is under, the prose after it, and its snippets with their first lines."""

    section: str
    heading: str
    words: str
    prose: list[str] = field(default_factory=list)
    snippets: list[tuple[int, str]] = field(default_factory=list)


def points(text: str) -> list[Point]:
    """Return the points of a page: lines that begin with bold words, outside of code."""
    found: list[Point] = []
    section = heading = ""
    code: list[str] | None = None
    began = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if code is not None:
            if line != "```":
                code.append(line)
                continue
            found[-1].snippets.append((began, "\n".join(code)))
            code = None
        elif line == "```python":
            code, began = [], number + 1
        elif line.startswith("## "):
            section, heading = line.removeprefix("## "), ""
        elif line.startswith("### "):
            heading = line.removeprefix("### ")
        elif line.startswith("**"):
            found.append(Point(section, heading, line.replace("**", "")))
        elif found:
            found[-1].prose.append(line)
    assert code is None, f"line {began}: the code is not closed"
    return found


POINTS = points(PAGE.read_text())


def planned() -> Iterator[tuple[str, str, str]]:
    for section, headings in PLAN.items():
        for heading, words in headings.items():
            yield from ((section, heading, each) for each in words)


def test_every_point_of_the_plan_is_there_in_its_order() -> None:
    assert [(point.section, point.heading, point.words) for point in POINTS] == list(planned())


def test_the_resources_are_those_of_the_plan() -> None:
    _, _, listed = PAGE.read_text().partition("\n## Recommended Learning Resources\n")
    lines = [line for line in listed.splitlines() if line]
    expected = [f"{place}. {line}" for place, line in enumerate(RESOURCES, start=1)]
    assert [line.replace("**", "") for line in lines] == expected


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.words)
def test_every_point_has_lines_that_assert_something_and_are_few(point: Point) -> None:
    assert point.snippets, "no snippet"
    for first, code in point.snippets:
        lines = [line for line in code.splitlines() if line]
        assert 2 <= len(lines) <= MOST_LINES, f"line {first}: {len(lines)} lines"
    assert any(isinstance(node, ast.Assert) for _, code in point.snippets for node in ast.walk(ast.parse(code)))


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.words)
def test_every_name_that_a_point_links_to_is_in_that_file(point: Point) -> None:
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    links = re.findall(r"\[`([^`]+)`\]\(\.\./([^)]+\.py)\)", "\n".join(point.prose))
    assert links, "no link to the project's code"
    for name, path in links:
        tree = ast.parse((ROOT / path).read_text())
        named = {node.name for node in ast.walk(tree) if isinstance(node, definitions)}
        assert name in named | {Path(path).name}, f"{path} has no {name}"


@pytest.mark.parametrize("section", PLAN)
def test_the_lines_of_every_section_run(section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    namespace: dict[str, object] = {"__name__": "learning_path"}
    try:
        with torch.random.fork_rng(devices=[]):
            for point in POINTS:
                for first, code in point.snippets if point.section == section else ():
                    # Empty lines first, so that a traceback names the line of the page.
                    exec(compile("\n" * (first - 1) + code, str(PAGE), "exec"), namespace)
    finally:
        torch.set_num_threads(threads)


def test_a_point_without_lines_and_one_that_is_missing_are_found() -> None:
    whole = PAGE.read_text()
    without = re.sub(r"(\*\*Bayes.*?)```python\n.*?^```$", r"\1", whole, count=1, flags=re.DOTALL | re.MULTILINE)
    assert [point.words for point in points(without) if not point.snippets] == [POINTS[8].words]
    missing = whole.replace("**Pandas** (for data manipulation)", "")
    assert [point.words for point in points(missing)] != [words for _, _, words in planned()]
