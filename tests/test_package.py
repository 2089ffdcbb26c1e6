"""What is installed: the data files are inside, and every process of the tests sees the same."""

import subprocess
import sys
from importlib.metadata import metadata
from importlib.resources import files
from pathlib import Path

import finetune


def test_the_data_files_are_inside():
    package = files("finetune")
    assert package.joinpath("cli", "demo", "backbone.keras").read_bytes()[:2] == b"PK"
    assert package.joinpath("py.typed").is_file()


def test_the_package_says_that_it_is_typed():
    assert "Typing :: Typed" in (metadata("keras-finetuner").get_all("Classifier") or [])


def test_a_process_of_a_test_imports_the_package_under_test():
    code = "import finetune; print(finetune.__file__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).samefile(finetune.__file__)
