"""export_model: a model as files that run without this package."""

import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.exceptions import ArgumentError, ExportError
from finetune.export.litert_files import open_litert, write_litert
from finetune.export.onnx_files import open_onnx, write_onnx
from finetune.export.portable_folders import write_portable
from finetune.export.proof import Export, prove
from finetune.export.readmes import read_me
from finetune.export.sample import Sample, find_sample
from finetune.export.saved_models import open_saved_model, write_saved_model
from finetune.export.serving import as_function
from finetune.model import FineTunedModel, load
from finetune.support import check_number, environment, expected_tracing, whole_folder, write_text
from finetune.training import in_float32

# What says that a folder is an export.
_RECORD = "export.json"
_PRECISIONS = ("float32", "float16", "int8")
_ONNX = ("tf2onnx", "onnx", "onnxruntime")


@dataclass(frozen=True)
class _Route:
    """A format: its file, what runs it, and how it is written and opened."""

    file: str
    runtime: str
    needs: tuple[str, ...]
    write: Callable[..., None]
    open: Callable[..., Any]


_ROUTES = {
    "onnx": _Route("model.onnx", "ONNX Runtime", _ONNX, write_onnx, open_onnx),
    # TensorFlow Serving looks for versions, which are numbers.
    "savedmodel": _Route("1", "SavedModel", (), write_saved_model, open_saved_model),
    "litert": _Route("model.tflite", "LiteRT", ("ai_edge_litert",), write_litert, open_litert),
    "folder": _Route("model.onnx", "ONNX Runtime", _ONNX, write_portable, open_onnx),
}


def export_model(
    model: FineTunedModel | str | os.PathLike[str],
    to: str = "onnx",
    *,
    out: str | os.PathLike[str] | None = None,
    data: Any = None,
    precision: str = "float32",
    activation_map: bool = False,
    tolerance: float | None = None,
    overwrite: bool = False,
) -> Export:
    """Write a model in a form that runs without this package, and try it there.

    The export takes RGB pixels 0..255 at the model's size and gives calibrated probabilities. It is
    loaded in its own runtime and run on images: what it says is compared with what Keras says.

    Args:
        model: A model, a `.keras` file or a run folder. Of a run the images are known, too.
        to: "onnx", "savedmodel" (for TensorFlow Serving), "litert" (formerly TensorFlow Lite) or
            "folder": ONNX with a script that needs no TensorFlow. Defaults to "onnx".
        out: Folder to write to. Default: beside the run, with the format in its name.
        data: Images to try it on: what `evaluate` takes, or a folder of images without classes;
            the test part is preferred. Default: those that the run names; else made-up ones.
        precision: "float32", or of "litert" also "float16" (half the size) and "int8" (a quarter,
            calibrated on training images). Default "float32".
        activation_map: Give the class activation maps as a second output: float32 (images, rows,
            columns, classes), how much each place speaks for each class. For average pooling and
            one Dense layer. Default False.
        tolerance: What is allowed: in float32 and for regression the largest difference, else the
            share of images with another answer. Default: 0.0001 in float32, 0.01 in float16,
            0.15 in int8 (0.1 for regression).
        overwrite: Replace an export that is there. Default False: refuse.

    Returns:
        Where it is, and how it compares.

    Raises:
        ExportError: If the model cannot be expressed, packages are missing, or the export is
            further away from Keras than is allowed; nothing is left of it.
        ArgumentError: If an argument is not allowed.
        ModelFileError: If there is no such model.
        DataError: If images that were given cannot be read.
        StorageError: If it cannot be written.

    Example:
        >>> import keras, tempfile
        >>> from finetune import FineTunedModel, export_model
        >>> from finetune.model import ModelCard
        >>> pixels = keras.Input((8, 8, 3))
        >>> pooled = keras.layers.GlobalAveragePooling2D()(pixels)
        >>> network = keras.Model(pixels, keras.layers.Dense(2, activation="softmax")(pooled))
        >>> model = FineTunedModel(network, ModelCard("multiclass", ("cat", "dog"), (8, 8), "pad"))
        >>> export = export_model(model, "savedmodel", out=f"{tempfile.mkdtemp()}/cats")
        >>> export.proof.same_answers, sorted(path.name for path in export.folder.iterdir())
        (1.0, ['1', 'README.md', 'export.json'])
    """
    route = _route(to, precision)
    if tolerance is not None:
        check_number("tolerance", tolerance, least=0)
    run = None if isinstance(model, FineTunedModel) else _run_of(Path(model))
    place = _place(out, run, to, precision)
    loaded = model if isinstance(model, FineTunedModel) else load(model)
    with expected_tracing(), whole_folder(place, _RECORD, overwrite=overwrite) as folder:
        sample = find_sample(loaded, data, run, calibrating=precision == "int8")
        if precision == "int8":
            _check_calibrating(sample)
        exact = FineTunedModel(in_float32(loaded.keras_model), loaded.card, loaded.known)
        function, path = as_function(exact, activation_map), folder / route.file
        bits = {"precision": precision, "images": sample.training} if to == "litert" else {}
        route.write(function, exact.card, path, **bits)
        proof = prove(
            exact,
            (_as_arrays(function), route.open(path)),
            sample,
            name=route.runtime if precision == "float32" else f"{route.runtime} {precision}",
            path=path,
            precision=precision,
            tolerance=tolerance,
        )
        export = Export(place, to, precision, proof)
        write_text(folder / "README.md", read_me(export, exact, route.file, run))
        record = {**export.to_dict(), "environment": environment()}
        write_text(folder / _RECORD, json.dumps(record, indent=2) + "\n")
    return export


def _as_arrays(function: Any) -> Callable[[Any], dict[str, Any]]:
    """A function of TensorFlow's that has done its work when it gives its outputs."""
    return lambda pixels: {name: said.numpy() for name, said in function(pixels).items()}


def _route(to: str, precision: str) -> _Route:
    if to not in _ROUTES:
        raise ArgumentError(f"Expected `to` to be one of {tuple(_ROUTES)}, received {to!r}.")
    if precision not in _PRECISIONS:
        raise ArgumentError(
            f"Expected precision to be one of {_PRECISIONS}, received {precision!r}."
        )
    if precision != "float32" and to != "litert":
        raise ArgumentError(
            f"Expected precision='float32' for {to!r}, received {precision!r}: fewer bits are for "
            "'litert' alone."
        )
    route = _ROUTES[to]
    missing = [name for name in route.needs if importlib.util.find_spec(name) is None]
    if missing:
        raise ExportError(
            f"Expected {', '.join(missing)} for {to!r}, but there is no such package. Run "
            "`pip install 'keras-finetuner[export]'`, or export to 'savedmodel', which needs "
            "nothing more."
        )
    return route


def _check_calibrating(sample: Sample) -> None:
    if not len(sample.training):
        raise ArgumentError(
            "Expected training images for precision='int8': the ranges of a network's values are "
            "taken from them. Received none, and the run names none that are still there. Name a "
            "folder of them with data= (--data), or take precision='float16'."
        )


def _run_of(model: Path) -> Path:
    """The folder that a model lies in."""
    return model if model.is_dir() else model.parent


def _place(out: str | os.PathLike[str] | None, run: Path | None, to: str, precision: str) -> Path:
    kind = to if precision == "float32" else f"{to}-{precision}"
    if out is None:
        # Beside a run, not in it: what lies in its folder would keep it from being replaced.
        beside = Path("model") if run is None else run.resolve()
        return beside.with_name(f"{beside.name}-{kind}")
    if Path(out).suffix in (".onnx", ".tflite", ".keras"):
        raise ArgumentError(
            f"Expected a folder for `out`, received {os.fspath(out)!r}: the file comes with a "
            "README.md and an export.json. Name a folder."
        )
    return Path(out)
