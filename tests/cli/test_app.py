"""The application: its help, its exit statuses, its errors, how quickly it starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import everhart
from everhart.cli import main
from everhart.cli import run as run_module
from everhart.cli.app import COMMANDS

HEAVY = (
    "torch",
    "lightning",
    "scipy",
    "skimage",
    "cv2",
    "pandas",
    "matplotlib",
    "tifffile",
    "jinja2",
)


def python(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        timeout=280,  # a busy machine takes its time
        check=False,
        env={**os.environ, **environment},
    )


def loaded_by(statement: str) -> set[str]:
    done = python("-c", f"import sys; {statement}; print('\\n' + ' '.join(sys.modules))")
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_help_lists_every_command_and_loads_nothing_heavy():
    loaded = loaded_by("from everhart.cli import main; main(['--help'])")
    assert not loaded.intersection(HEAVY)
    assert not {"everhart.io", "everhart.operations", "pydantic", "rich"} & loaded


def test_help_names_all_commands(run):
    result = run("--help")
    assert result.status == 0
    assert all(f"  {name} " in result.out for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(run, name):
    assert import_module(COMMANDS[name].module)
    result = run(name, "--help")
    assert result.status == 0
    assert f"everhart {name}" in result.out.split("Examples:")[-1]
    # The line in the list of commands and the command's own first line say the same.
    assert COMMANDS[name].summary.rstrip(".").split()[0] in result.out


def test_help_of_all_commands_imports_no_torch():
    calls = "; ".join(f"main(['{name}', '--help'])" for name in COMMANDS)
    assert "torch" not in loaded_by(f"from everhart.cli import main; {calls}")


def test_module_and_version():
    done = python("-m", "everhart", "--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"everhart {everhart.__version__}")


def test_no_words_at_all_is_a_wrong_call(run):
    result = run()
    assert result.status == 2
    assert "Commands:" in result.err
    assert result.out == ""


def test_unknown_command_offers_the_nearest(run):
    result = run("denoize", "x.tif")
    assert result.status == 2
    assert "did you mean 'denoise'?" in result.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["denoise"], "Missing argument"),
        (["denoise", "x.tif"], "Missing option"),
        (["denoise", "x.tif", "-o", "y.tif", "--overwrit"], "--overwrit"),
        (["denoise", "x.tif", "-o", "y.tif", "--device", "tpu"], "tpu"),
        (["denoise", "missing.tif", "-o", "y.tif"], "missing.tif does not exist"),
        (["train", "missing.yaml", "-o", "run"], "missing.yaml does not exist"),
    ],
)
def test_wrong_calls_are_one_sentence_and_status_2(run, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*words)
    assert result.status == 2
    assert said in result.err
    assert result.err.startswith("everhart: error: ")
    assert result.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    from everhart.cli import models

    def broken(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(models, "check_outputs", broken)


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyError("spam"), 1, "Unexpected KeyError: 'spam' - this is a fault of Everhart"),
        (MemoryError(), 1, "memory ran out"),
        (OSError(28, "No space left on device", "x.tif"), 1, "No space left on device"),
        (everhart.EverhartError("Disk\n full."), 1, "error: Disk full."),
        (everhart.UsageError("No."), 2, "error: No."),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_no_error_shows_a_traceback(run, monkeypatch, error, status, said):
    fail_with(monkeypatch, error)
    result = run("models")
    assert result.status == status
    assert said in result.err
    assert "Traceback" not in result.err
    assert result.err.count("\n") == 1


def test_traceback_on_request(run, monkeypatch):
    fail_with(monkeypatch, KeyError("spam"))
    monkeypatch.setenv(run_module.DEBUG_VARIABLE, "1")
    result = run("models")
    assert result.status == 1
    assert "Traceback" in result.err


def test_models_prints_cards(run, tmp_path, tiny_model: Path, monkeypatch):
    monkeypatch.setenv("EVERHART_MODELS", str(tiny_model.parent))
    result = run("models", "--json", tmp_path / "models.json")
    assert result.status == 0
    assert "tiny (denoiser)" in result.out
    assert "a model of the tests" in result.out
    models = json.loads((tmp_path / "models.json").read_text(encoding="utf-8"))["models"]
    assert "tiny" in {model["name"] for model in models}
    assert run("models", "--json", tmp_path / "models.json").status == 2


def test_a_closed_pipe_is_no_traceback(tmp_path, tiny_model: Path):
    if os.name == "nt":
        pytest.skip("no shell pipes of this kind on Windows")
    done = subprocess.run(
        f"{sys.executable} -m everhart models | true",
        shell=True,
        capture_output=True,
        text=True,
        timeout=280,  # a busy machine takes its time
        check=False,
        env={**os.environ, "EVERHART_MODELS": str(tiny_model.parent)},
    )
    assert done.stderr == ""


def test_main_takes_the_words_of_the_process(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["everhart", "--version"])
    assert main() == 0
    assert capsys.readouterr().out.startswith("everhart ")
