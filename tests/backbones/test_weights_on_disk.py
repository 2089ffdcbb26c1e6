"""The files that Keras keeps ImageNet weights in."""

import pytest

from finetune.backbones import COMPARED, load_backbone, on_disk, weights_file
from finetune.exceptions import WeightsError


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("mobilenet_v2", None),
        ("mobilenet_v2", (160, 160)),
        ("mobilenet_v2", (160, 96)),
        *(
            pytest.param(name, None, marks=pytest.mark.slow)
            for name in COMPARED
            if name != "mobilenet_v2"
        ),
    ],
)
def test_it_is_the_file_that_keras_asks_for(keras_cache, name, size):
    with pytest.raises(WeightsError) as caught:
        load_backbone(name, image_size=size)
    assert f" could not be downloaded: {weights_file(name, size)} from https://" in str(
        caught.value
    )


def test_what_is_there_is_listed_in_a_fixed_order(keras_cache):
    assert on_disk() == []
    for name in ("resnet50", "mobilenet_v2"):
        (keras_cache / weights_file(name)).write_bytes(b"")
    assert on_disk() == ["mobilenet_v2", "resnet50"]
    assert on_disk((160, 160)) == ["resnet50"]
