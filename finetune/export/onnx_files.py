"""ONNX: written by tf2onnx, run by ONNX Runtime."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from finetune.export.quietly import quietly
from finetune.export.serving import PIXELS, cannot_express, metadata
from finetune.model import ModelCard

# The oldest that ONNX Runtime 1.14 and newer, browsers' among them, all run.
_OPSET = 17


def write_onnx(function: Any, card: ModelCard, path: Path) -> None:
    """Write a function as ONNX, with what has to be known of it as its metadata.

    Args:
        function: Of `as_function`.
        card: Of the model.
        path: The file.

    Raises:
        ExportError: If the model has something that ONNX cannot express.
    """
    import onnx
    import tf2onnx

    try:
        with quietly():
            model, _ = tf2onnx.convert.from_function(
                function,
                input_signature=function.input_signature,
                opset=_OPSET,
                custom_op_handlers={"Erfc": (_erfc, [])},
            )
        # What it cannot convert it leaves in, under TensorFlow's name.
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # of every class, from three libraries
        raise cannot_express("ONNX", error) from error
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "images"
    # Each by itself, as viewers show them; JSON, for it says where a list of names ends.
    onnx.helper.set_model_props(
        model, {key: json.dumps(value) for key, value in metadata(card).items()}
    )
    onnx.save(model, path)


def open_onnx(path: Path) -> Any:
    """A function of images that runs an ONNX file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda pixels: dict(zip(names, session.run(names, {PIXELS: pixels}), strict=True))


def _erfc(graph: Any, node: Any, *_: Any) -> None:
    """Keras writes GELU with erfc, which ONNX has only as 1 - erf."""
    kind, shape = graph.get_dtype(node.output[0]), graph.get_shape(node.output[0])
    inputs, outputs, name = [*node.input], [*node.output], node.name
    graph.remove_node(name)
    erf = graph.make_node("Erf", inputs, dtypes=[kind], shapes=[shape])
    one = graph.make_const(f"{name}_one", np.array(1, "float32"))
    graph.make_node(
        "Sub", [one.output[0], erf.output[0]], outputs=outputs, dtypes=[kind], shapes=[shape]
    )
