"""Where a model looks: maps that add up to what the model says."""

import keras
import numpy as np
import pytest

from finetune.backbones import load_backbone
from finetune.exceptions import ArgumentError
from finetune.model import FineTunedModel, ModelCard
from finetune.training import Head, assemble
from tiny import SIZE, make_images

IMAGES, _ = make_images(5)
NAMES = ("a", "b", "c")


def made_of(backbone, task="multiclass", names=NAMES, **options):
    head = Head(task, max(len(names), 1), **options)
    model = assemble(load_backbone(backbone, preprocess="tf"), head).model
    return FineTunedModel(model, ModelCard(task, names, (SIZE, SIZE), "pad"))


def logits_of(model, images=IMAGES):
    p = np.asarray(model.keras_model.predict(images.astype("float32"), verbose=0), "float64")
    return np.log(p / (1 - p)) if p.shape[1] == 1 else np.log(p)


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_the_means_of_the_maps_of_a_linear_head_are_its_logits(backbone, dropout):
    model = made_of(backbone, dropout=dropout)
    found = np.stack([model.explain(IMAGES, [name] * 15).maps.mean(axis=(1, 2)) for name in NAMES])
    expected = logits_of(model).T
    # Softmax forgets what all logits have in common; the biases of a new head are 0.
    np.testing.assert_allclose(found - found[:1], expected - expected[:1], atol=1e-4)


def test_what_speaks_for_one_of_two_classes_speaks_against_the_other(backbone):
    model = made_of(backbone, "binary", ("no", "yes"))
    against, in_favour = (model.explain(IMAGES, [name] * 15).maps for name in ("no", "yes"))
    np.testing.assert_array_equal(against, -in_favour)
    np.testing.assert_allclose(in_favour.mean(axis=(1, 2)), logits_of(model)[:, 0], atol=1e-4)


def test_the_class_that_is_asked_about_is_the_most_probable_one_unless_another_is_named(backbone):
    model = made_of(backbone)
    found = model.explain(IMAGES)
    assert found.labels == model.predict(IMAGES).labels
    assert found.maps.shape == (15, 4, 4)
    np.testing.assert_allclose(found.maps, model.explain(IMAGES, found.labels).maps)


def test_a_head_with_a_hidden_layer_is_explained_by_its_gradients(backbone):
    model = made_of(backbone, hidden_units=5)
    found = model.observe(IMAGES[:1])
    head = model.keras_model.get_layer("head")
    hidden, last = head.get_layer("hidden"), head.get_layer("predictions")
    alive = np.asarray(hidden(found.pooled)) > 0
    weights = np.asarray(hidden.kernel) @ (alive[0] * np.asarray(last.kernel)[:, 1])
    expected = found.places[0] @ weights
    np.testing.assert_allclose(model.explain(IMAGES[:1], ["b"]).maps[0], expected, atol=1e-4)


def test_patches_of_a_transformer_are_the_places_and_class_tokens_are_none(backbone):
    layers = keras.layers
    inputs = keras.Input((SIZE, SIZE, 3))
    patches = layers.Reshape((16, 6))(layers.Conv2D(6, 4, 4)(inputs))
    tokens = layers.Concatenate(axis=1)([layers.Cropping1D((0, 15))(patches), patches])
    model = made_of(keras.Model(inputs, tokens))
    assert model.observe(IMAGES).places.shape == (15, 4, 4, 6)
    assert model.explain(IMAGES).maps.shape == (15, 4, 4)


def test_values_have_maps_too(backbone):
    model = made_of(backbone, "regression", ())
    found = model.explain(IMAGES)
    said = model.keras_model.predict(IMAGES.astype("float32"), verbose=0)[:, 0]
    np.testing.assert_allclose(found.maps.mean(axis=(1, 2)), said, rtol=1e-3, atol=1e-3)
    assert found.labels == [0] * 15


def test_a_model_without_places_says_what_to_do(backbone):
    flat = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Flatten()])
    with pytest.raises(ArgumentError, match=r"averages over the places of an image"):
        made_of(flat).explain(IMAGES)


def test_a_class_that_the_model_does_not_know_is_refused(backbone):
    with pytest.raises(ArgumentError, match=r"Expected labels among 'a', 'b', 'c', received 'd'\."):
        made_of(backbone).explain(IMAGES[:1], ["d"])
