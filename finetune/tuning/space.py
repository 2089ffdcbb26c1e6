"""The arguments of a tuner as a search space, and the settings that a trial makes of it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import keras
import keras_tuner
from keras_tuner.engine.hyperparameters import HyperParameter

from finetune.backbones import default_depths, leaf_layers, resolve_depth, shallowest
from finetune.tuning.hyperparameters import choose, is_space, outermost, spread
from finetune.tuning.settings import Settings

# With several backbones to choose from a depth in layers means something else in each.
_FRACTIONS = [0.0, 0.25, 0.5, 0.75, 1.0]

# Leaves the choice of depths to what has been measured.
AUTO = "auto"


class SearchSpace:
    """What each argument may be, by its name in `Settings`.

    Args:
        arguments: A value, range, list or hyperparameter for each.
        model_of: Gives the backbone that settings ask for: block ends and names of layers are
            depths of that one.
    """

    def __init__(
        self, arguments: dict[str, Any], model_of: Callable[[Settings], keras.Model]
    ) -> None:
        self._arguments = arguments
        self._model_of = model_of

    def tunables(self) -> list[str]:
        """Names of the arguments that leave something to be chosen."""
        names = [
            name
            for name, value in self._arguments.items()
            if is_space(value) and not _is_size(name, value)
        ]
        return [
            *names,
            *(["freeze_depth"] if self._arguments["freeze_depth"] in (None, AUTO) else []),
        ]

    def settings(self, hp: keras_tuner.HyperParameters) -> Settings:
        """The values of a trial; declares in `hp` what is tunable."""
        settings = self._without_depth(hp)
        space = self.depth_space(settings, self._arguments["freeze_depth"])
        depth = choose(hp, "freeze_depth", space)
        return replace(settings, freeze_depth=depth)

    def check(self) -> None:
        """Refuse what can be refused before a backbone is loaded.

        Raises:
            ArgumentError: If a value cannot work.
        """
        first = self._without_depth(keras_tuner.HyperParameters())
        for name, space in self._arguments.items():
            if name != "freeze_depth" and not _is_size(name, space):
                for value in outermost(space):
                    replace(first, **{name: value}).check()

    def freeze_depths(
        self, settings: Settings, model: keras.Model | None = None
    ) -> tuple[int, ...]:
        """The depths that trials on this backbone may use; of a range a few that stand for it.

        Args:
            settings: Of any of these trials.
            model: The backbone, where it is at hand.

        Raises:
            FreezeDepthError: If the backbone has no such depth.
        """
        space = self.depth_space(settings, self._arguments["freeze_depth"])
        if isinstance(space, (tuple, HyperParameter)):
            depths = spread(space)
        else:
            depths = space if isinstance(space, list) else [settings.freeze_depth]
        model = self._model_of(settings) if model is None else model
        # From the deepest on, so that what is refused of a range is the end that was given.
        return tuple(sorted({resolve_depth(model, depth) for depth in reversed(depths)}))

    def _without_depth(self, hp: keras_tuner.HyperParameters) -> Settings:
        values = {
            name: value if _is_size(name, value) else choose(hp, name, value)
            for name, value in self._arguments.items()
            if name != "freeze_depth"
        }
        settings = Settings(**values, freeze_depth=0)
        settings.check()
        return settings

    def depth_space(self, settings: Settings, space: Any) -> Any:
        """What a `freeze_depth` leaves to be chosen from, as KerasTuner can hold it."""
        if is_space(self._arguments["backbone"]):
            return _FRACTIONS if space is None else _FRACTIONS[:3] if space == AUTO else space
        if space not in (None, AUTO) and not isinstance(space, list):
            return space
        model = self._model_of(settings)
        if space is None:
            return default_depths(model)
        if space == AUTO:
            return list(shallowest(default_depths(model), len(leaf_layers(model))))
        return list(dict.fromkeys(resolve_depth(model, depth) for depth in space))


def _is_size(name: str, value: Any) -> bool:
    """Whether a pair is (height, width), and no range."""
    return name == "image_size" and isinstance(value, tuple)
