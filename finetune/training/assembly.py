"""The whole model: raw pixels in, predictions out, the backbone inside as one layer."""

from dataclasses import dataclass

import keras

from finetune.backbones import FINE_TUNED, Backbone, prepared
from finetune.training.head import Head, build_classifier, pooling_layer


@dataclass(frozen=True)
class Assembly:
    """A whole model and the parts that it is made of; all share their variables.

    Args:
        model: From float pixels (batch, height, width, 3) in 0..255 to predictions.
        backbone: What was wrapped.
        prepare: From float pixels to what the backbone expects.
        pool: From the backbone's output to one vector per image.
        classifier: From that vector to predictions.
    """

    model: keras.Model
    backbone: Backbone
    prepare: keras.Model
    pool: keras.Layer
    classifier: keras.Model


def assemble(backbone: Backbone, head: Head) -> Assembly:
    """Put preprocessing before a backbone and a head on top of it."""
    pixels = keras.Input((*backbone.image_size, 3), name="pixels")
    prepare = keras.Model(pixels, prepared(backbone.preprocess, pixels), name="preprocessing")
    features = backbone.model(backbone.preprocess(pixels))
    pool = pooling_layer(len(features.shape))
    pooled = pool(features)
    classifier = build_classifier(pooled.shape[-1], head)
    model = keras.Model(pixels, classifier(pooled), name=f"{FINE_TUNED}{backbone.name}")
    return Assembly(model, backbone, prepare, pool, classifier)
