from pathlib import Path

import numpy as np
import pytest
import torch

from models.diamonds import data, table
from models.spec import DataError, Datasets


def diamonds(dataset: object) -> data.Diamonds:
    assert isinstance(dataset, data.Diamonds)
    return dataset


@pytest.fixture(scope="module")
def splits() -> Datasets:
    return data.datasets()


def written(folder: Path, lines: list[str]) -> Path:
    header = "carat,cut,color,clarity,depth,table,price,x,y,z"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / table.NAME).write_text("\n".join([header, *lines]) + "\n")
    return folder


def lines(count: int) -> list[str]:
    return [f"{0.3 + row / 100:.2f},Ideal,E,SI2,61.5,55,{400 + row},4.3,4.35,2.68" for row in range(count)]


def test_every_row_is_in_one_split(splits: Datasets) -> None:
    parts = [diamonds(split) for split in (splits.train, splits.validation, splits.test)]
    assert [len(part) for part in parts] == [37_888, 5_476, 10_576]
    whole = table.bundled()
    for found, expected in (
        (torch.cat([part.prices for part in parts]).numpy(), whole.prices),
        (torch.cat([part.numbers for part in parts]).numpy()[:, 0], whole.numbers[:, 0]),
    ):
        assert np.array_equal(np.sort(found), np.sort(expected))


def test_no_stone_is_in_two_splits_whichever_way_it_was_turned(splits: Datasets) -> None:
    seen: dict[tuple[float, ...], str] = {}
    twice = 0
    for name, split in (("train", splits.train), ("validation", splits.validation), ("test", splits.test)):
        part = diamonds(split)
        for numbers, grades in zip(part.numbers.tolist(), part.grades.tolist(), strict=True):
            carat, _, _, x, y, z = numbers
            stone = (carat, *sorted((x, y)), z, *grades[1:])
            twice += stone in seen
            assert seen.setdefault(stone, name) == name
    assert twice == 53_940 - 42_753


def test_rows_of_a_stone_have_its_identity_and_no_others(splits: Datasets) -> None:
    test = diamonds(splits.test)
    stones = table.Stones(test.numbers.numpy(), test.grades.numpy(), test.prices.numpy())
    pairs = set(zip(data.names(stones), test.identities.tolist(), strict=True))
    assert len(pairs) == len({name for name, _ in pairs}) == len({identity for _, identity in pairs}) == 8_432


def test_the_splits_are_alike(splits: Datasets) -> None:
    means = [float(diamonds(split).prices.mean()) for split in (splits.train, splits.validation, splits.test)]
    assert max(means) / min(means) < 1.07  # prices spread by 4,000 USD: the mean of 4,344 stones has an error of 1.5 %


def test_the_order_of_the_file_does_not_matter(tmp_path: Path) -> None:
    rows = lines(200)
    rows += [row.replace("Ideal", "Good") for row in rows[:50]]
    one, other = (data.datasets(written(tmp_path / name, given)) for name, given in (("a", rows), ("b", rows[::-1])))
    assert one.checksum == other.checksum
    assert torch.equal(diamonds(one.train).numbers, diamonds(other.train).numbers)
    assert len(diamonds(one.train)) + len(diamonds(one.validation)) + len(diamonds(one.test)) == 250


def test_samples_are_the_first_rows_of_the_test(splits: Datasets) -> None:
    test = diamonds(splits.test)
    found = data.samples(64)
    assert np.array_equal(found["numbers"], test.numbers[:64].numpy())
    assert np.array_equal(found["grades"], test.grades[:64].numpy())
    assert len({tuple(row) for row in found["grades"].tolist()}) > 30  # mixed, where the file is in the order of prices
    with pytest.raises(ValueError, match="count: expected at most 10576 samples, found 10577"):
        data.samples(10_577)


def test_items_gathered_at_once_are_the_items_one_by_one(splits: Datasets) -> None:
    test = diamonds(splits.test)
    inputs, targets = test.__getitems__([999, 0, 5])
    for place, index in enumerate([999, 0, 5]):
        (one, target) = test[index]
        assert all(torch.equal(inputs[name][place], one[name]) for name in ("numbers", "grades"))
        assert target == targets[place]


def test_another_way_to_cut_the_table_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "_TEST", 0.21)
    with pytest.raises(DataError, match=r"splits of diamonds.csv: expected sha256 [0-9a-f]{64}, found "):
        data.datasets()


def test_a_table_too_small_to_be_cut_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{tmp_path}/diamonds.csv: expected stones for the .* split, found too few for one"):
        data.datasets(written(tmp_path, lines(1)))
