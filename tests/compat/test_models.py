"""Canary: what setting `compiled` does to a model of Keras'. The attribute is in no guide."""

import keras


def test_a_model_that_is_said_not_to_be_compiled_is_saved_without_its_optimizer(tmp_path):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("adam", loss="mse")
    model.compiled = False
    model.save(tmp_path / "model.keras")
    assert not keras.models.load_model(tmp_path / "model.keras").compiled, (
        "`Model.compiled` (Keras) no longer decides whether the optimizer is saved with a model: "
        "training sets it to False in the end, for who saves the model wants no optimizer."
    )
