import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import cli

ROOT = Path(__file__).parent.parent


def sameway(*words: str, program: str = "") -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own, after a few lines of `program`."""
    code = f"{program}\nimport sys, cli\nsys.exit(cli.main())"
    return subprocess.run([sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, timeout=60)


def without(*packages: str) -> str:
    """Return a program in which these packages are not installed."""
    return f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {packages!r}:
            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)
sys.meta_path.insert(0, Absent())
"""


def test_help_lists_every_subcommand_with_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for name, subcommand in cli.SUBCOMMANDS.items():
        assert f"  {name} " in shown
        assert subcommand.summary in shown


def test_no_words_at_all_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 0
    assert "subcommands:" in capsys.readouterr().out


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == importlib.metadata.version("sameway")


@pytest.mark.parametrize("word", ["fly", "Serve", "serve ", "", "--fly", "cli"])
def test_an_unknown_subcommand_exits_with_2(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([word])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: sameway")


@pytest.mark.parametrize("name", sorted(cli.SUBCOMMANDS))
def test_every_subcommand_has_its_two_functions_and_its_own_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(cli.SUBCOMMANDS[name].module)
    assert callable(module.add_arguments)
    assert callable(module.run)
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--help"])
    assert ended.value.code == 0
    assert f"usage: sameway {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(cli.SUBCOMMANDS))
def test_an_unknown_flag_exits_with_2(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([name, "--no-such-flag"])
    assert ended.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"usage: sameway {name}")
    assert "--no-such-flag" in shown or "required" in shown


@pytest.mark.parametrize("name", ["train", "export"])  # loadtest runs Locust in another process
def test_a_missing_extra_is_one_line_that_says_how_to_get_it(name: str) -> None:
    finished = sameway(name, "digits", program=without("torch", "lightning", "rich", "safetensors", "onnx", "onnxscript"))
    assert finished.returncode == 2
    assert finished.stderr.count("\n") == 1
    assert finished.stderr.startswith(f"sameway {name}: needs the package ")
    assert f"pip install 'sameway[{cli.SUBCOMMANDS[name].extra}]'" in finished.stderr
    assert finished.stdout == ""


def test_a_module_of_our_own_that_is_missing_is_our_fault_and_shows_a_traceback() -> None:
    finished = sameway("train", "digits", program=without("training"))
    assert finished.returncode == 1
    assert "Traceback" in finished.stderr


@pytest.mark.parametrize("name", sorted(cli.SUBCOMMANDS))
def test_ctrl_c_while_a_subcommand_runs_is_exit_code_130(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(arguments: object) -> int:
        raise KeyboardInterrupt

    words = {
        "train": ["toy"],
        "tune": ["toy"],
        "new": ["toy", "--task", "regression"],
        "evaluate": ["toy"],
        "export": ["toy"],
        "import": ["model.onnx", "--name", "toy"],
        "verify": ["models/toy/1"],
        "profile": ["models/toy/1"],
        "diff": ["models/toy/1", "models/toy/2"],
        "serve": [],
        "key": ["shop", "--scopes", "predict"],
        "loadtest": ["http://127.0.0.1:8000"],
    }[name]
    monkeypatch.setattr(importlib.import_module(cli.SUBCOMMANDS[name].module), "run", interrupted)
    assert cli.main([name, *words]) == 130


def test_as_a_containers_first_process_sigterm_ends_what_is_only_starting() -> None:
    # The kernel would keep it from process 1; here it has only the number of one, and so must have the handler.
    program = """
import importlib, os, signal
os.getpid = lambda: 1
def starting(name):
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    signal.raise_signal(signal.SIGTERM)
importlib.import_module = starting
"""
    finished = sameway("serve", program=program)
    assert (finished.returncode, finished.stdout, finished.stderr) == (143, "", "")


def test_serving_needs_no_extra() -> None:
    assert cli.SUBCOMMANDS["serve"].extra is None
    finished = sameway("serve", "--help", program=without("torch", "lightning", "onnx", "onnxscript", "rich", "locust"))
    assert finished.returncode == 0, finished.stderr


def test_help_imports_no_stage() -> None:
    program = """
import atexit, sys
atexit.register(lambda: print('IMPORTED', *{name.split('.')[0] for name in sys.modules}))
"""
    finished = sameway("--help", program=program)
    assert finished.returncode == 0
    imported = set(finished.stdout.rpartition("IMPORTED")[2].split())
    assert not imported & {"models", "training", "export", "serving", "loadtests", "numpy"}


def test_the_installed_command_runs() -> None:
    command = Path(sys.executable).with_name("sameway")
    finished = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=60)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert finished.stdout.strip()
