"""Optimizers by name, with clipping, weight averaging and rates that differ by layer."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras

from finetune.compat import limit_what_is_summed, sum_between_devices_only, with_rate_factors
from finetune.exceptions import ArgumentError
from finetune.support import check_number

# Not `keras.optimizers.get`, which does not know all of them by name.
_CLASSES: dict[str, type[keras.optimizers.Optimizer]] = {
    cls.__name__.lower(): cls
    for cls in (
        keras.optimizers.Adam,
        keras.optimizers.AdamW,
        keras.optimizers.SGD,
        keras.optimizers.RMSprop,
        keras.optimizers.Nadam,
        keras.optimizers.Adagrad,
        keras.optimizers.Adadelta,
        keras.optimizers.Adamax,
        keras.optimizers.Lion,
        keras.optimizers.Lamb,
        keras.optimizers.Muon,
        keras.optimizers.Ftrl,
    )
}
OPTIMIZERS = tuple(_CLASSES)


@dataclass(frozen=True)
class OptimizerSettings:
    """Which optimizer trains, apart from its learning rate.

    Args:
        name: A Keras optimizer by name. Defaults to "adam".
        clip_norm: Largest global norm of the gradients, above 0; None leaves them as they
            are.
        weight_decay: Decoupled weight decay per step, 0 or more; None leaves the optimizer's
            own default.
        ema: Momentum of the exponential moving average of the weights, 0 to 1 exclusive; None
            for no averaging. Keras' own default where one is used is 0.99.
    """

    name: str = "adam"
    clip_norm: float | None = None
    weight_decay: float | None = None
    ema: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or self.name.lower() not in OPTIMIZERS:
            raise ArgumentError(
                f"Expected optimizer to be one of {OPTIMIZERS}, received {self.name!r}."
            )
        check_number("clip_norm", self.clip_norm, above=0, optional=True)
        check_number("weight_decay", self.weight_decay, least=0, optional=True)
        check_number("ema", self.ema, above=0, below=1, optional=True)


def build_optimizer(
    settings: OptimizerSettings,
    learning_rate: float,
    rate_factors: Sequence[tuple[keras.Variable, float]] = (),
    derive: Callable[[type], type] = lambda cls: cls,
) -> keras.optimizers.Optimizer:
    """Make a Keras optimizer.

    Args:
        settings: What to make.
        learning_rate: The base rate, above 0.
        rate_factors: For discriminative rates: variables, and what the base rate is multiplied
            by for each. Variables that are not among them keep the base rate.
        derive: Makes of the optimizer's class the one that is used.

    Returns:
        A new optimizer of Keras' class, or of a subclass that knows the factors.

    Raises:
        ArgumentError: The rate is not above 0.

    Source of discriminative rates: J. Howard, S. Ruder, "Universal Language Model
    Fine-tuning for Text Classification" (2018).
    """
    if not learning_rate > 0:
        raise ArgumentError(f"Expected a learning rate above 0, received {learning_rate!r}.")
    cls: type = _CLASSES[settings.name.lower()]
    arguments: dict[str, Any] = {"learning_rate": learning_rate}
    if settings.clip_norm is not None:
        arguments["global_clipnorm"] = settings.clip_norm
    if settings.weight_decay is not None:
        arguments["weight_decay"] = settings.weight_decay
    if settings.ema is not None:
        arguments |= {"use_ema": True, "ema_momentum": settings.ema}
    if rate_factors:
        cls = with_rate_factors(cls, rate_factors)
    optimizer = derive(cls)(**arguments)
    sum_between_devices_only(optimizer)
    if settings.clip_norm is not None:
        limit_what_is_summed(optimizer)
    return optimizer


def layer_decay_factors(
    layers: Sequence[keras.Layer], decay: float, variables: Sequence[keras.Variable] = ()
) -> list[tuple[keras.Variable, float]]:
    """Rate factors that fall by `decay` with every group of layers further from the head.

    Args:
        layers: The trainable layers in order from the input; those with variables count.
        decay: Factor from one layer with variables to the one before it, above 0, at most 1.
        variables: All that train. Those that none of the layers holds, such as the class token
            and the position embeddings of a transformer, belong to its input: they have the factor
            of the first layer.

    Returns:
        Variables with their factors; the last layer has `decay`, the one before `decay ** 2`.

    Source: K. Clark et al., "ELECTRA" (2020), "layerwise learning-rate decay".
    """
    check_number("layer_decay", decay, above=0, most=1)
    with_variables = [layer for layer in layers if layer.trainable_variables]
    factors = {
        id(variable): (variable, decay**distance)
        for distance, layer in enumerate(reversed(with_variables), start=1)
        for variable in layer.trainable_variables
    }
    first = decay ** max(len(with_variables), 1)
    for variable in variables:
        factors.setdefault(id(variable), (variable, first))
    return [*factors.values()]
