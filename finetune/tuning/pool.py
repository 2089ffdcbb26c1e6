"""The backbones of a tuner: each is loaded once, and keeps what was computed with it."""

import gc
import logging
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from finetune.backbones import Backbone, copy_of, load_backbone
from finetune.compat import forget_kernels
from finetune.reuse import FeatureCache
from finetune.support import same_random_state
from finetune.training import (
    HeadStore,
    SharedBackbone,
    dtype_policy,
    policy_name,
    scope,
    with_policy,
)
from finetune.tuning.inputs import pair
from finetune.tuning.settings import Settings

log = logging.getLogger("finetune")

# With what is compiled for it a backbone takes some hundred MB.
_MOST_BACKBONES = 4


class BackbonePool:
    """Loads backbones, and gives the same one to all trials whose settings ask for it.

    Those that were not used for longest are let go of. Their features and heads stay.

    Args:
        preprocess: See `load_backbone`.
        cache: Features of all of them.
        distribution: Strategy that variables are made under; None for one device.
    """

    def __init__(
        self, preprocess: Any, cache: FeatureCache, distribution: tf.distribute.Strategy | None
    ) -> None:
        self._preprocess = preprocess
        self._cache = cache
        self._distribution = distribution
        self._shared: dict[str, SharedBackbone] = {}  # the one that was used last comes last
        self._heads = HeadStore()

    def load(self, settings: Settings, image_size: Any) -> Backbone:
        """A backbone of its own, with pretrained weights or random ones of the settings' seed.

        Args:
            settings: Which backbone, weights and options.
            image_size: Pixels, or None for what fits the backbone.
        """
        backbone = settings.backbone
        with same_random_state():
            # Random weights, and what dropout draws, are the same in the next process.
            random.seed(settings.seed)
            if isinstance(backbone, keras.Model):
                backbone = copy_of(backbone)  # the user's own object stays as it is
            loaded = load_backbone(
                backbone,
                weights=settings.weights,
                image_size=image_size,
                preprocess=self._preprocess,
                **(settings.backbone_options or {}),
            )
        # A named architecture was made under the policy; a model of the user's was made before.
        model = with_policy(loaded.model, policy_name(settings.mixed_precision))
        return replace(loaded, model=model)

    def get(self, settings: Settings, image_size: Any) -> SharedBackbone:
        """The backbone that all trials with these settings train on."""
        key = _key(settings, image_size)
        shared = self._shared.get(key)
        if shared is None:
            forget_kernels()  # those of networks before: in a loop of fits they would pile up
            precision = policy_name(settings.mixed_precision)
            with scope(self._distribution), dtype_policy(precision):
                backbone = self.load(settings, image_size)
            shared = SharedBackbone(
                backbone, self._cache, precision, self._distribution, heads=self._heads
            )
        # Asked for without a size, and later by the size that it turned out to have.
        for name in dict.fromkeys([key, _key(settings, shared.backbone.image_size)]):
            self._shared.pop(name, None)
            self._shared[name] = shared
        self._let_go()
        return shared

    def count_anew(self) -> None:
        """Forget how many images were trained on, see `SharedBackbone.began`."""
        for shared in self._shared.values():
            shared.began.clear()

    def _let_go(self) -> None:
        """Let go of backbones that were not used for longest, with all that was compiled."""
        kept = {id(shared): shared for shared in reversed(self._shared.values())}
        for shared in [*kept.values()][_MOST_BACKBONES:]:
            log.debug("%s is let go of, to be loaded again when needed.", shared.backbone.name)
            for name in [name for name, other in self._shared.items() if other is shared]:
                del self._shared[name]
        if len(kept) > _MOST_BACKBONES:
            gc.collect()  # models are full of circles

    def keep_heads(self, folder: Path) -> None:
        """Keep trained heads in a folder, see `HeadStore`."""
        self._heads.folder = folder


def _key(settings: Settings, size: Any) -> str:
    name = settings.backbone
    if isinstance(name, keras.Model):
        name = f"{name.name}@{id(name)}"
    precision = policy_name(settings.mixed_precision)
    weights = f"random {settings.seed}" if settings.weights is None else settings.weights
    parts = (name, weights, pair(size), settings.backbone_options, precision)
    return "/".join(map(str, parts))
