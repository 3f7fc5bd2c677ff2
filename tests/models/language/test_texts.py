from collections import Counter

import numpy as np
import pytest

from models.language import texts
from models.language.words import Word
from models.tensors import Array

#: Two common words, and rare ones that share the frequency of a third one.
LIST = (Word(b"the", 400_000), Word(b"of", 200_000), *(Word(b"w%d" % at, 1_000) for at in range(300)))


@pytest.fixture(scope="module")
def shares() -> dict[str, texts.Share]:
    return texts.shares(LIST, texts.common({"xx": LIST}))


def words_of(rows: Array) -> list[list[bytes]]:
    return [row.tobytes().rstrip(b"\0").split(b" ") for row in rows]


def test_a_word_that_is_common_in_one_language_is_so_in_all() -> None:
    other = (Word(b"w1", 100_000), Word(b"w2", 99_999))
    assert texts.common({"xx": LIST, "yy": other}) == {b"the", b"of", b"w1"}


def test_rare_words_are_dealt_out_by_their_hash(shares: dict[str, texts.Share]) -> None:
    owned = {split: set(given.own.letters.tobytes().split()) for split, given in shares.items()}
    assert not owned["train"] & owned["validation"]
    assert not owned["train"] & owned["test"]
    assert not owned["validation"] & owned["test"]
    assert set.union(*owned.values()) == {word.letters for word in LIST[2:]}
    assert {texts.split_of(word) for word in owned["test"]} == {"test"}
    # Shares of 16, 32 and 208 in 256; three standard deviations of 300 words are 13, 17 and 20.
    assert len(owned["validation"]) == pytest.approx(300 * 16 / 256, abs=13)
    assert len(owned["test"]) == pytest.approx(300 * 32 / 256, abs=17)


def test_texts_have_so_many_words_and_one_of_their_own_split(shares: dict[str, texts.Share]) -> None:
    counts = np.resize(np.arange(1, 13), 600)
    for split, given in shares.items():
        for count, found in zip(counts, words_of(texts.draw(given, split, counts, 80)), strict=True):
            assert len(found) == count
            assert any(word not in (b"the", b"of") for word in found)
            assert all(word in (b"the", b"of") or texts.split_of(word) == split for word in found)


def test_words_are_as_frequent_as_in_the_list(shares: dict[str, texts.Share]) -> None:
    """Of 12 words one is the split's own in any case; of the others 2/3 are common, of these 2/3 the commoner one."""
    counts = np.full(4000, 12)
    found = Counter(word for text in words_of(texts.draw(shares["test"], "any", counts, 80)) for word in text)
    known, total = found[b"the"] + found[b"of"], sum(found.values())
    assert known / total == pytest.approx(11 / 12 * 600 / 900, abs=0.01)
    assert found[b"the"] / known == pytest.approx(2 / 3, abs=0.01)
    rare = [count for word, count in found.items() if word not in (b"the", b"of")]
    assert max(rare) / min(rare) < 1.5


def test_the_own_word_stands_in_any_place(shares: dict[str, texts.Share]) -> None:
    never = texts.Share(shares["test"].common, shares["test"].own, rare=0)
    found = words_of(texts.draw(never, "any", np.full(1000, 4), 80))
    places = Counter(next(at for at, word in enumerate(text) if word.startswith(b"w")) for text in found)
    assert all(sum(word.startswith(b"w") for word in text) == 1 for text in found)
    assert set(places) == {0, 1, 2, 3}
    assert min(places.values()) > 200


def test_the_same_name_draws_the_same(shares: dict[str, texts.Share]) -> None:
    counts = np.arange(1, 13)
    first = texts.draw(shares["train"], "name", counts, 80)
    assert np.array_equal(first, texts.draw(shares["train"], "name", counts, 80))
    assert not np.array_equal(first, texts.draw(shares["train"], "another", counts, 80))


def test_a_text_that_is_too_long_is_refused(shares: dict[str, texts.Share]) -> None:
    counts = np.full(5, 12)
    longest = max(len(b" ".join(found)) for found in words_of(texts.draw(shares["test"], "any", counts, 99)))
    assert texts.draw(shares["test"], "any", counts, longest).shape == (5, longest)
    with pytest.raises(ValueError, match=f"width: expected {longest} or more, found {longest - 1}"):
        texts.draw(shares["test"], "any", counts, longest - 1)
