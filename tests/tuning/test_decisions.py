"""What decides a training, whichever way it is said."""

from finetune import FineTuner
from finetune.tuning import deciding


def test_a_name_that_is_spelled_otherwise_decides_the_same(data):
    def decided(backbone, optimizer):
        tuner = FineTuner(backbone, weights=None, image_size=32, optimizer=optimizer)
        tuner.trainer.source_of(data.at_size(32), tuner.trainer.settings())
        return deciding(tuner.trainer, data.at_size(32), 1)["FineTuner"]

    first = decided("MobileNetV2", "adam")
    assert decided("mobilenet-v2", "Adam") == first
    assert decided(["MobileNetV2"], ["ADAM", "sgd"])["optimizer"] == ["adam", "sgd"]
    assert first["backbone"] == "mobilenet_v2"
