"""Weights come from files without code, and what does not fit is named key by key."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from export.exporter import ExportError
from export.foreign_weights import fill


class Tied(nn.Module):
    """Two names for one matrix, as language models have them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def of_safetensors(state: dict[str, Tensor], folder: Path) -> Path:
    path = folder / "weights.safetensors"
    safetensors.torch.save_file(state, path)
    return path


def of_torch(state: object, folder: Path) -> Path:
    path = folder / "weights.pt"
    torch.save(state, path)
    return path


@pytest.mark.parametrize("save", [of_safetensors, of_torch])
def test_weights_are_loaded_and_named_by_their_digest(
    save: Callable[[dict[str, Tensor], Path], Path], tmp_path: Path
) -> None:
    given = network()
    path = save(dict(given.state_dict()), tmp_path)
    module = network()
    assert fill(module, path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert all(torch.equal(tensor, given.state_dict()[name]) for name, tensor in module.state_dict().items())


def test_a_tied_weight_may_be_there_once(tmp_path: Path) -> None:
    module = Tied()
    fill(module, of_safetensors({"embedding.weight": torch.ones(5, 3)}, tmp_path))
    assert torch.equal(module.head.weight, torch.ones(5, 3))


class Positioned(nn.Module):
    """A module that makes a buffer itself and does not save it; earlier versions of it did."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)
        self.register_buffer("places", torch.arange(4), persistent=False)


def test_a_buffer_that_is_not_saved_any_more_may_be_there(tmp_path: Path) -> None:
    module = Positioned()
    state = {**Positioned().state_dict(), "places": torch.arange(4) + 1}
    fill(module, of_safetensors(state, tmp_path))
    assert torch.equal(module.get_buffer("places"), torch.arange(4) + 1)
    with pytest.raises(ExportError, match=r"of another shape or dtype: places \(expected int64 \[4\], found int64 \[5\]\)"):
        fill(module, of_safetensors({**state, "places": torch.arange(5)}, tmp_path))


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    state = dict(network().state_dict())
    del state["0.bias"]
    state |= {"0.weight": torch.ones(2, 4), "1.bias": torch.ones(2).half()}
    state |= {f"head.{place}": torch.ones(1) for place in range(7)}
    expected = (
        r"expected those of this module, found missing: 0\.bias; not the module's: head\.0, .*, head\.4 and 2 more; "
        r"of another shape or dtype: 0\.weight \(expected float32 \[2, 3\], found float32 \[2, 4\]\), "
        r"1\.bias \(expected float32 \[2\], found float16 \[2\]\)$"
    )
    with pytest.raises(ExportError, match=expected):
        fill(network(), of_torch(state, tmp_path))


class Evil:
    """Would run code when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return print, ("I run",)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (Evil(), "expected a state dict, tensors by name, found objects whose loading would run code; "),
        (network(), "expected a state dict, tensors by name, found objects whose loading would run code; "),
        ({"epoch": 3, "model": dict(network().state_dict())}, "found a dictionary of epoch, model$"),
        ([torch.ones(1)], "found list$"),
    ],
)
def test_a_file_of_more_than_tensors_is_refused(
    written: object, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ExportError, match=message):
        fill(network(), of_torch(written, tmp_path))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("weights.safetensors", "not a safetensors file: SafetensorError: "),
        ("weights.pt", "expected a state dict, tensors by name, found "),
        ("weights.pkl", r"expected a file called \.safetensors or \.pt, \.pth, \.bin, \.ckpt$"),
    ],
)
def test_a_file_of_something_else_is_one_line(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"no weights")
    with pytest.raises(ExportError, match=rf"^weights \S*{name}: {message}[^\n]*$"):
        fill(network(), tmp_path / name)


def test_a_missing_file_is_the_systems_word(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"weights \S+/none\.pt: No such file or directory$"):
        fill(network(), tmp_path / "none.pt")
