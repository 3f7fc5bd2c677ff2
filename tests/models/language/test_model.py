import numpy as np
import pytest
import torch
from torch import Tensor

from models.language import model
from models.language.model import LONGEST, ROWS


@pytest.fixture(scope="module")
def network() -> model.Network:
    torch.manual_seed(0)
    return model.Network().eval().requires_grad_(False)


def row(text: str | bytes, padding: int = 0) -> Tensor:
    data = text.encode() if isinstance(text, str) else text
    return torch.from_numpy(np.frombuffer(data + bytes(padding), np.uint8).copy())[None]


def symbols(network: model.Network, text: str | bytes) -> bytes:
    return bytes(network.symbols(row(text))[0].to(torch.uint8).numpy())


def expected(text: str) -> list[int]:
    """Return the rows of a text's n-grams, sorted, from their definition: no tensor is in this."""
    found = []
    for word in text.split():
        data = b" " + word.encode() + b" "
        grams = [data[at : at + length] for length in range(1, LONGEST + 1) for at in range(len(data) - length + 1)]
        for gram in grams:
            if gram == b" ":
                continue
            value = 0
            for byte in gram:
                value = (value * 48_271 + byte) % 262_139
            found.append(value)
    return sorted(found)


def rows_of(network: model.Network, text: str | bytes) -> list[int]:
    every = torch.cat(model.hashes(network.symbols(row(text))), dim=1)
    return sorted(every[every != ROWS].tolist())


@pytest.mark.parametrize(
    "text", ["a", "of the", "människor är", "x supercalifragilistic yz", "abcdefghijklmn abcdefghijklmno"]
)
def test_hashes_are_those_of_every_ngram_within_a_word(network: model.Network, text: str) -> None:
    assert rows_of(network, text) == expected(text)


def test_what_is_no_letter_parts_words(network: model.Network) -> None:
    plain = rows_of(network, "l homme est bien né")
    for other in ("L'homme est (bien) né!", "l\u2019homme — est 🙂bien «né»", "  l\n\thomme 1984 est…bien 東 né\0\0"):
        assert rows_of(network, other) == plain


def test_every_letter_of_two_bytes_is_made_small_as_far_as_its_first_byte_stays(network: model.Network) -> None:
    kept = []
    for code in [*range(0x41, 0x5B), *range(0x61, 0x7B), *range(0xC0, 0x250)]:
        character = chr(code)
        if not character.isalpha():
            assert symbols(network, character).strip() in (b"", b"\xc3"), character
            continue
        small, data = character.lower().encode(), character.encode()
        if len(small) == len(data) and small[:-1] == data[:-1]:
            assert symbols(network, character) == b" " + small + b" "
        else:
            kept.append(character)
            assert symbols(network, character) == b" " + character.encode() + b" "
    assert {"İ", "Ÿ", "Ŀ"} <= set(kept)
    assert not set("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÐÑÒÓÔÕÖØÙÚÛÜÝÞĄĆČĎĐĘĚĞŁŃŇŐŒŘŚŞŠŤŮŰŹŻŽȘȚ") & set(kept)


def test_padding_and_neighbours_say_nothing(network: model.Network) -> None:
    texts = ["ja", "und der hund", "piękny dzień", "x"]
    alone = torch.cat([network(row(text)) for text in texts])
    for width in (13, 14, 50):
        batch = torch.cat([row(text, width - len(text.encode())) for text in texts if len(text.encode()) <= width])
        assert torch.allclose(network(batch), alone[: len(batch)] if len(batch) == 4 else alone[[0, 1, 3]], atol=1e-6)


def test_a_text_of_nothing_is_answered_by_the_bias(network: model.Network) -> None:
    with torch.no_grad():
        network.bias.copy_(torch.arange(16.0))
    for text in (b"\0", b"\0" * 9, b"\xff" * 7, b"1234 !"):
        assert torch.equal(network(row(text))[0], network.bias)
    torch.nn.init.zeros_(network.bias)


def test_every_byte_after_every_byte_stays_within_the_table(network: model.Network) -> None:
    pairs = torch.cartesian_prod(torch.arange(256), torch.arange(256)).to(torch.uint8)
    every = torch.cat(model.hashes(network.symbols(pairs)), dim=1)
    assert int(every.min()) >= 0
    assert int(every.max()) == ROWS
    assert network(pairs).isfinite().all()


def test_training_leaves_out_some_ngrams_and_of_most_texts_long_ones() -> None:
    torch.manual_seed(0)
    left = model.thinned(torch.zeros((20_000, 6, 3), dtype=torch.int64)) == 0
    # Of those that are not shortened all kinds are left; others keep kinds up to the second, third, fourth or fifth.
    shown = left.float().mean((0, 2)) / (1 - model._DROPPED)
    expected = [0.4 + 0.6 * share for share in (1, 1, 0.75, 0.5, 0.25, 0)]
    assert shown.tolist() == pytest.approx(expected, abs=0.02)


def test_training_adds_up_what_evaluation_does(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    network = model.Network()
    text = torch.cat([row("a longer text of a few words"), row("ein text", 20)])
    monkeypatch.setattr(model, "_DROPPED", 0.0)
    monkeypatch.setattr(model, "_SHORTENED", 0.0)
    assert torch.allclose(network.train()(text), network.eval()(text), atol=1e-6)


def test_what_is_no_ngram_learns_nothing() -> None:
    torch.manual_seed(0)
    network = model.Network().train()
    network(row("a longer text", 9)).square().sum().backward()
    gradient = network.table.weight.grad
    assert gradient is not None
    assert not gradient[ROWS].any()
    assert gradient[:ROWS].any()


def test_answers_are_probabilities_and_the_largest_of_them(network: model.Network) -> None:
    probabilities, language = model.ServingModule(network)(torch.cat([row("der hund"), row("le chien")]))
    assert torch.allclose(probabilities.sum(1), torch.ones(2))
    assert torch.equal(probabilities.argmax(1), language)
    assert language.dtype == torch.int64


def test_every_number_type_gives_the_same(network: model.Network) -> None:
    text = row("übermorgen")
    for dtype in (torch.int64, torch.float32, torch.float64):
        assert torch.equal(network(text.to(dtype)), network(text))
