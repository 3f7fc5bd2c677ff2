"""`sameway tune`: a study that can be interrupted in any way, goes on, and whose winner is a recipe for `sameway train`."""

import signal
import sqlite3
import subprocess
import sys
import tomllib
from dataclasses import asdict, replace
from pathlib import Path

import optuna
import pytest
import torch
from torch import nn

import cli
from models import spec as specs
from models.spec import Datasets, ModelSpec
from tests.training import toys
from training import recipe_file, space, tune, tune_command
from training.tune import Search

ROOT = Path(__file__).parents[2]

#: The command on the toy, in a process of its own.
PROGRAM = """
import sys, cli
from training import tune_command
from tests.training import toys
tune_command.find = lambda name: toys.spec()
sys.exit(cli.main(["tune", "toy", "--threads", "1", *sys.argv[1:]]))
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ModelSpec:
    toy = toys.spec()
    monkeypatch.setattr(tune_command, "find", lambda name: toy if name == "toy" else specs.find(name))
    return toy


def search_of(spec: ModelSpec, **changed: object) -> Search:
    given = Search(spec, replace(spec.recipe, epochs=2), space.default(spec), seed=3, data=toys.CHECKSUM)
    return replace(given, **changed)  # type: ignore[arg-type]


def test_the_winner_is_a_recipe_that_train_takes(toy: ModelSpec, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tune", "toy", "--trials", "5", "--epochs", "2", "--threads", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    lines = captured.out.splitlines()
    assert sum(line.startswith("trial ") for line in lines) == 5
    assert "(learning_rate 0.05, weight_decay 0.01, batch_size 16" in next(line for line in lines if "trial 1/5" in line)
    assert "what made the difference" in captured.out
    assert lines[-1] == "train it with: sameway train toy --recipe tuning/toy.toml"
    won = recipe_file.read(Path("tuning/toy.toml"), toy.recipe)
    assert won.epochs == 2
    with sqlite3.connect("tuning/toy.db") as study:
        values = [value for (value,) in study.execute("select value from trial_values")]
    told = f"validation accuracy {max(values):.6g}, seed 0"
    assert told in Path("tuning/toy.toml").read_text().splitlines()[0]


def test_no_trial_sees_the_test_split(toy: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hidden(toys.Rows):
        def __getitem__(self, index: int) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
            raise AssertionError("a trial looks at the test split")

    def datasets(data_dir: Path | None = None) -> Datasets:
        return replace(toys.datasets(), test=Hidden(40, seed=3))

    hidden = replace(toy, datasets=datasets)
    monkeypatch.setattr(tune_command, "find", lambda name: hidden)
    assert cli.main(["tune", "toy", "--trials", "1", "--epochs", "1"]) == 0


def test_the_same_search_finds_the_same(toy: ModelSpec) -> None:
    found = []
    for file in (Path("one.db"), Path("other.db")):
        with tune.opened(file, search_of(toy)) as study:
            tune.run(study, search_of(toy), trials=3)
            found.append([(trial.params, trial.value) for trial in tune.ended(study)])
    assert found[0] == found[1]
    own = asdict(toy.recipe)
    assert found[0][0][0] == {name: own[name] for name in space.default(toy)}


def test_more_trials_are_added_to_a_study(toy: ModelSpec, capsys: pytest.CaptureFixture[str]) -> None:
    for trials in ("2", "2", "3"):
        assert cli.main(["tune", "toy", "--trials", trials, "--epochs", "1"]) == 0
    out = capsys.readouterr().out
    assert [f"trial {name}" in out for name in ("1/2", "2/2", "3/3", "1/3")] == [True, True, True, False]
    with tune.opened(Path("tuning/toy.db"), search_of(toy, recipe=replace(toy.recipe, epochs=1), seed=0)) as study:
        drawn = [trial.params["learning_rate"] for trial in tune.ended(study)]
    assert len(set(drawn)) == 3  # who goes on does not draw the same again


@pytest.mark.parametrize("how", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_a_study_that_is_interrupted_goes_on(
    how: signal.Signals, toy: ModelSpec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [sys.executable, "-c", PROGRAM, "--trials", "400", "--epochs", "2"]
    process = subprocess.Popen(
        words, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("trial   3/400"):
            break
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert err == "sameway tune: interrupted; the same command goes on with tuning/toy.db\n"
    with sqlite3.connect(tmp_path / "tuning" / "toy.db") as study:
        query = "select count(*) from trials where state in ('COMPLETE', 'PRUNED')"
        (before,) = study.execute(query).fetchone()
    assert before >= 3
    assert cli.main(["tune", "toy", "--threads", "1", "--trials", str(before + 2), "--epochs", "2"]) == 0
    assert capsys.readouterr().out.count("\ntrial ") == 2
    assert tomllib.loads((tmp_path / "tuning" / "toy.toml").read_text())["epochs"] == 2


def test_a_trial_that_was_killed_is_tried_again(toy: ModelSpec) -> None:
    search = search_of(toy)
    with tune.opened(Path("toy.db"), search) as study:
        killed = study.ask()
        tune.suggested(killed, search.space)
    with tune.opened(Path("toy.db"), search) as study:
        tune.run(study, search, trials=1)
        (trial,) = tune.ended(study)
    assert trial.params == killed.params


class Unbounded(nn.Module):
    """A network whose loss is no number once it has learnt at a rate above that of the toy's own recipe."""

    def __init__(self) -> None:
        super().__init__()
        self.network = toys.Network()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network(image)
        return found * torch.nan if self.training else found


def test_recipes_that_all_blow_up_end_in_one_line(
    toy: ModelSpec, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tune_command, "find", lambda name: toys.spec(Unbounded))
    assert cli.main(["tune", "toy", "--trials", "2", "--epochs", "1"]) == 1
    captured = capsys.readouterr()
    assert captured.out.count("the loss is nan") == 2
    assert captured.err.startswith("sameway tune: tuning/toy.db: no trial ran to its end; ")


def test_a_space_without_the_models_own_values(toy: ModelSpec) -> None:
    Path("space.toml").write_text('[optimizer]\nchoices = ["sgd"]\n[learning_rate]\nlow = 0.2\nhigh = 0.3\n')
    assert cli.main(["tune", "toy", "--trials", "1", "--epochs", "1", "--space", "space.toml"]) == 0
    won = recipe_file.read(Path("tuning/toy.toml"), toy.recipe)
    assert won.optimizer == "sgd"
    assert 0.2 <= won.learning_rate <= 0.3


def test_a_trial_that_falls_behind_is_ended_early(toy: ModelSpec) -> None:
    slow = space.Choice((0.05, 1e-9))
    search = search_of(toy, space={"learning_rate": slow}, recipe=replace(toy.recipe, epochs=8))
    with tune.opened(Path("toy.db"), search) as study:
        for _ in range(5):
            study.enqueue_trial({"learning_rate": 0.05})
        study.enqueue_trial({"learning_rate": 1e-9})
        tune.run(study, search, trials=7)
        last = tune.ended(study)[-1]
        assert last.state == optuna.trial.TrialState.PRUNED
        assert last.last_step is not None
        assert last.last_step < 8
        best = tune.winner(study)
    assert best is not None
    assert tune.recipe_of(best, search.recipe).learning_rate == 0.05


def failure(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    exit_code = cli.main(["tune", *words])
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert len(lines) == 1, captured
    return exit_code, lines[0].removeprefix("sameway tune: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nobody"], "model: expected one of"),
        (["toy", "--trials", "0"], "trials: expected 1 to 100,000, found 0"),
        (["toy", "--epochs", "0"], "epochs: expected 1 to 1000000, found 0"),
        (["toy", "--seed", "-1"], "seed: expected 0 to "),
        (["toy", "--threads", "0"], "threads: expected 1 to "),
        (["toy", "--study", "."], "study: expected a file, found '.'"),
        (["toy", "--study", "toy.toml"], "out: expected another file than the study, found 'toy.toml' for both"),
        (["toy", "--study", "a.db", "--out", "a.db"], "out: expected another file than the study, found 'a.db' for both"),
        (["toy", "--space", "absent.toml"], "absent.toml: expected a TOML file, found 'No such file or directory'"),
        (["toy", "--recipe", "absent.toml"], "absent.toml: expected a TOML file, found 'No such file or directory'"),
        (["toy", "--device", "cuda"], "device: expected a CUDA device that torch can use, found none"),
    ],
)
def test_a_wrong_argument_is_one_line_and_exit_code_2(
    toy: ModelSpec, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    exit_code, line = failure(capsys, *words)
    assert exit_code == 2
    assert line.startswith(message)


def test_a_study_of_something_else_is_refused(toy: ModelSpec, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tune", "toy", "--trials", "1", "--epochs", "1"]) == 0
    capsys.readouterr()
    exit_code, line = failure(capsys, "toy", "--trials", "1", "--epochs", "2")
    assert exit_code == 1
    assert line.startswith("tuning/toy.db: recipe: this study has ")
    assert line.endswith("; name another file with --study")
    exit_code, line = failure(capsys, "digits", "--study", "tuning/toy.db")
    assert (exit_code, line) == (1, "tuning/toy.db: expected a study of digits, found toy")


def test_a_file_that_is_no_study_is_one_line(toy: ModelSpec, capsys: pytest.CaptureFixture[str]) -> None:
    Path("notes.db").write_text("not a database, but long enough to be looked at as one: " * 30)
    exit_code, line = failure(capsys, "toy", "--study", "notes.db")
    assert exit_code == 1
    assert line.startswith("notes.db: expected a study of Optuna that can be written, found: file is not a database")
    Path("folder.db").mkdir()
    exit_code, line = failure(capsys, "toy", "--study", "folder.db")
    assert exit_code == 1
    exit_code, line = failure(capsys, "toy", "--study", "notes.db/study.db")
    assert exit_code == 1
    assert line.startswith("notes.db/study.db: cannot be written: ")


@pytest.mark.parametrize("name", ["what?.db", "a#b.db", "{a}.db", "a%20b.db", "a b.db", "fünf.db"])
def test_any_name_of_a_file_will_do(name: str, toy: ModelSpec) -> None:
    for trials in ("1", "2"):
        assert cli.main(["tune", "toy", "--trials", trials, "--epochs", "1", "--study", name]) == 0
    assert sorted(path.name for path in Path().iterdir()) == sorted([name, f"{name}.lock", f"{name[:-3]}.toml"])


def test_two_searches_with_one_study_do_not_mix(toy: ModelSpec, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = replace(toy.recipe, epochs=1)
    with tune.opened(Path("tuning/toy.db"), search_of(toy, recipe=recipe, seed=0)):
        exit_code, line = failure(capsys, "toy", "--epochs", "1")
    assert (exit_code, line) == (1, "tuning/toy.db: another process is tuning with this study")
