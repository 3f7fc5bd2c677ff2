from pathlib import Path

import numpy as np
import pytest
import torch

from models.language import data, texts, words
from models.spec import DataError, Datasets


@pytest.fixture(scope="module")
def splits() -> Datasets:
    return data.datasets()


@pytest.fixture(scope="module")
def shared() -> frozenset[bytes]:
    return texts.common(words.read())


def found(splits: Datasets) -> dict[str, data.Texts]:
    given = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return {name: data.texts_of(split) for name, split in given.items()}


def test_every_language_has_as_many_texts(splits: Datasets) -> None:
    for name, expected in (("train", 30_000), ("validation", 800), ("test", 1_000)):
        assert torch.bincount(found(splits)[name].languages).tolist() == [expected] * 16


def test_bands_of_what_is_judged_are_as_large_and_short_texts_are_learnt_of(splits: Datasets) -> None:
    for name in ("validation", "test"):
        split = found(splits)[name]
        lengths = split.counts()
        for language in range(16):
            own = lengths[split.languages.numpy() == language]
            assert {int(((own >= first) & (own <= last)).sum()) for first, last in data.BANDS} == {len(own) // 5}
            assert set(own) == set(range(1, 13))
    learnt = found(splits)["train"].counts()
    assert (learnt == 1).mean() == 0.7
    assert learnt.max() == 10


def test_every_text_holds_a_word_of_its_own_split_and_none_of_another(splits: Datasets, shared: frozenset[bytes]) -> None:
    for name, split in found(splits).items():
        for row in split.letters[:: max(1, len(split) // 4000)].numpy():
            rare = [word for word in row.tobytes().rstrip(b"\0").split(b" ") if word not in shared]
            assert rare
            assert {texts.split_of(word) for word in rare} == {name}


def test_samples_are_the_first_of_the_test_with_languages_in_turn(splits: Datasets) -> None:
    test = found(splits)["test"]
    assert np.array_equal(data.samples(64)["text"], test.letters[:64].numpy())
    assert test.languages[:32].tolist() == [*range(16), *range(16)]
    with pytest.raises(ValueError, match="count: expected at most 16000 samples, found 16001"):
        data.samples(16_001)


def test_items_gathered_at_once_are_the_items_one_by_one_without_padding_that_all_have(splits: Datasets) -> None:
    split = found(splits)["validation"]
    inputs, languages = split.__getitems__([0, 17, 4000])
    longest = max(len(split[index][0]["text"].numpy().tobytes().rstrip(b"\0")) for index in (0, 17, 4000))
    assert inputs["text"].shape == (3, longest)
    for place, index in enumerate((0, 17, 4000)):
        one, language = split[index]
        assert torch.equal(inputs["text"][place], one["text"][:longest])
        assert languages[place] == language


def test_another_way_to_draw_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_COMMON", 100_001)
    monkeypatch.setattr(data, "_packaged", lambda: data._read(None))  # it remembers what it has read
    with pytest.raises(DataError, match=r"splits of language: expected sha256 [0-9a-f]{64}, found "):
        data.datasets()


def test_lists_of_another_folder_have_to_be_the_same(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"small_cs\.msgpack\.gz: No such file"):
        data.datasets(tmp_path)


def test_another_models_split_is_refused() -> None:
    with pytest.raises(TypeError, match="split: expected Texts, found list"):
        data.texts_of([])
