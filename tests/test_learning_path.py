"""docs/learning-path.md: every point of the study plan is there, in its order, with lines that run."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "learning-path.md"

#: The study plan that the project grew out of: its sections and their points, as it words them.
PLAN = {
    "1. Mathematics Fundamentals": (
        "Vectors, Matrices, and Tensors",
        "Matrix operations (addition, multiplication, inverse, transpose)",
        "Eigenvalues and Eigenvectors",
        "Singular Value Decomposition (SVD)",
        "Derivatives and Partial Derivatives",
        "Chain Rule (important for backpropagation)",
        "Gradient Descent and Optimization",
        "Probability distributions (Normal, Bernoulli, Poisson)",
        "Bayes\N{RIGHT SINGLE QUOTATION MARK} Theorem",
        "Mean, Variance, Standard Deviation",
        "Hypothesis Testing and Confidence Intervals",
    ),
    "2. Programming Skills (Python)": (
        "Data Structures (Lists, Dictionaries, Tuples, Sets)",
        "Loops and Conditional Statements",
        "Functions and Object-Oriented Programming (OOP)",
        "List Comprehensions and Lambda Functions",
        "File Handling (CSV, JSON, TXT)",
        "NumPy (for numerical computing)",
        "Pandas (for data manipulation)",
        "Matplotlib/Seaborn (for visualization)",
    ),
    "3. Machine Learning Basics": (
        "Supervised Learning (Regression, Classification)",
        "Unsupervised Learning (Clustering, Dimensionality Reduction)",
        "Feature Engineering (Scaling, Normalization, Encoding)",
        "Evaluation Metrics (Accuracy, Precision, Recall, RMSE, F1-Score)",
    ),
    "4. Deep Learning Concepts": (
        "Neural Networks (Perceptron, Multi-Layer Perceptron - MLP)",
        "Activation Functions (ReLU, Sigmoid, Tanh, Softmax)",
        "Loss Functions (Cross-Entropy, MSE, MAE)",
        "Optimization Algorithms (SGD, Adam, RMSprop)",
        "Backpropagation & Gradient Descent",
    ),
    "5. PyTorch Basics": (
        "Tensors (PyTorch\N{RIGHT SINGLE QUOTATION MARK}s core data structure)",
        "Tensor Operations (Reshaping, Slicing, Broadcasting)",
        "Autograd & Computational Graphs",
        "Building Simple Neural Networks",
        "Using GPU Acceleration (CUDA)",
    ),
    "6. Working with Datasets": (
        "Loading datasets using torchvision and torchtext",
        "Custom datasets with torch.utils.data.Dataset",
        "DataLoader for batch processing",
        "Image processing using PIL & OpenCV",
    ),
    "7. Model Training & Evaluation": (
        "Model building using torch.nn.Module",
        "Training loops (forward pass, loss computation, backward pass)",
        "Optimization using torch.optim",
        "Model evaluation and hyperparameter tuning",
        "Saving & loading models",
    ),
    "8. (Optional) Deployment & Advanced Topics": (
        "ONNX for model deployment",
        "TorchScript for model optimization",
        "Integrating PyTorch with Flask or FastAPI",
        "Distributed Training with PyTorch Lightning",
    ),
}

#: A point, as a line in bold, perhaps with a part of it after that; and a block that runs.
POINT = re.compile(r"^\*\*(.+)$", re.MULTILINE)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def sections(page: str) -> dict[str, str]:
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def points(section: str) -> dict[str, list[str]]:
    """Return the blocks that follow each point of a section; the signs that set words off are left out of its name."""
    parts = POINT.split(section)[1:]
    names = [re.sub(r"\*\*|`", "", name) for name in parts[::2]]
    return {name: BLOCK.findall(text) for name, text in zip(names, parts[1::2], strict=True)}


def test_every_section_of_the_plan_is_there_in_its_order() -> None:
    found = list(sections(PAGE.read_text()))
    assert found == [*PLAN, "Recommended Learning Resources"]


@pytest.mark.parametrize("section", PLAN)
def test_every_point_is_there_in_its_order_with_lines_that_show_it(section: str) -> None:
    found = points(sections(PAGE.read_text())[section])
    assert tuple(found) == PLAN[section]
    assert [name for name, blocks in found.items() if not blocks] == []


def test_a_point_without_lines_would_be_noticed() -> None:
    section = "\n**Vectors**\n\nwords\n\n**Matrices** (two)\n\n```python\nx = 1\n```\n"
    assert points(section) == {"Vectors": [], "Matrices (two)": ["x = 1\n"]}


@pytest.mark.parametrize("section", PLAN)
def test_the_lines_of_a_section_run(section: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text()
    session: dict[str, object] = {"__name__": "learning_path"}
    with torch.random.fork_rng():
        for block in BLOCK.finditer(page):
            if block[1] not in sections(page)[section]:
                continue
            # Lines are counted as on the page, so that a traceback points into it.
            lines = "\n" * page[: block.start(1)].count("\n") + block[1]
            exec(compile(lines, str(PAGE), "exec"), session)
