"""What is installed: the data files are inside, and every process of the tests sees the same."""

import os
import subprocess
import sys
from importlib.metadata import metadata
from importlib.resources import files
from pathlib import Path

import pytest

import finetune


def test_the_data_files_are_inside():
    package = files("finetune")
    assert package.joinpath("cli", "demo", "backbone.keras").read_bytes()[:2] == b"PK"
    assert package.joinpath("py.typed").is_file()
    page = package.joinpath("report", "page")
    assert {part.name for part in page.iterdir()} == {
        *("check.html", "check.js", "pair.html", "plan.html"),
        *("report.css", "report.html", "report.js"),
    }


def test_the_package_says_that_it_is_typed():
    assert "Typing :: Typed" in (metadata("keras-finetuner").get_all("Classifier") or [])


def test_a_process_of_a_test_imports_the_package_under_test():
    code = "import finetune; print(finetune.__file__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).samefile(finetune.__file__)


@pytest.mark.parametrize(("given", "expected"), [(None, "true"), ("false", "false")])
def test_a_process_takes_only_the_gpu_memory_that_it_needs_unless_told_otherwise(given, expected):
    code = "import os, finetune; print(os.environ['TF_FORCE_GPU_ALLOW_GROWTH'])"
    kept = {k: v for k, v in os.environ.items() if k != "TF_FORCE_GPU_ALLOW_GROWTH"}
    told = kept if given is None else {**kept, "TF_FORCE_GPU_ALLOW_GROWTH": given}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=told)
    assert done.stdout.strip() == expected
