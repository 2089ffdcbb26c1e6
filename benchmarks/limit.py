"""How far `fine_tune` is from the limit: bare training steps and one pass of the frozen part.

    python benchmarks/limit.py shoes_brands/ --weights mobilenet_v2_1.0_224_no_top.h5

The limit is what cannot be spared: the frozen part once over all images, and as many steps of a
hand-written `tf.function` on the same suffix, from tensors in memory, as the fine-tune phase has.
No head phase, no validation, no callbacks, nothing saved; tracing not counted. Against it stands
one call of `fine_tune` with the same settings, with the time of every part of it. Each is a
process of its own, the two in turn, with the seed of its round.

Time spent in a part within a part counts for the inner one alone. The first call of a compiled
function traces it: what it takes beyond a later call is counted as tracing.
"""

import argparse
import importlib
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from one_call import call_fine_tune
from processes import fill

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

REST = "all else"
# Parts that come once a call, however long it trains.
START_UP = ("imports", "reading the images", "backbone and its weights", "building and compiling")
TRACING = "tracing: "


class Stopwatch:
    """Wall and CPU seconds of parts of a program, each moment counted for one part alone.

    Only what the main thread does is told apart; CPU seconds are of all threads.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.calls: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._firsts: list[tuple[str, str]] = []
        self._open = [REST]
        self._mark = (time.perf_counter(), time.process_time())

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Counts the time within for `name`."""
        self._charge()
        self._open.append(name)
        try:
            yield
        finally:
            self._charge()
            self._open.pop()

    def stop(self) -> dict[str, list[float]]:
        """Seconds and CPU seconds of each part; to be asked once, at the end."""
        self._charge()
        for name, tracing in self._firsts:
            for index in range(2):
                usual = statistics.median(call[index] for call in self.calls[name] or [(0.0, 0.0)])
                usual = min(usual, self.seconds[tracing][index])
                self.seconds[tracing][index] -= usual
                self.seconds[name][index] += usual
        return dict(self.seconds)

    def median(self, name: str) -> float:
        """Seconds of a call, the first left out."""
        return statistics.median(seconds for seconds, _ in self.calls[name])

    def wrap(self, place: str, name: str) -> None:
        """Counts the calls of a function, given as "module:Class.method", for `name`."""
        module, _, path = place.partition(":")
        owner: Any = importlib.import_module(module)
        *classes, function = path.split(".")
        for class_ in classes:
            owner = getattr(owner, class_)
        setattr(owner, function, self.timed(getattr(owner, function), name))

    def timed(self, function: Callable, name: str) -> Callable:
        """The function, its calls counted for `name`."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return function(*args, **kwargs)

        return call

    def traced(self, function: Callable, name: str, tracing: str) -> Callable:
        """The function, its calls counted for `name`; of the first, the excess for `tracing`."""
        tracing = TRACING + tracing
        first = True

        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal first
            wall, cpu = time.perf_counter(), time.process_time()
            with self.part(tracing if first else name):
                result = function(*args, **kwargs)
            if first:
                self._firsts.append((name, tracing))
                first = False
            else:
                self.calls[name].append((time.perf_counter() - wall, time.process_time() - cpu))
            return result

        return call

    def _charge(self) -> None:
        now = (time.perf_counter(), time.process_time())
        spent = self.seconds[self._open[-1]]
        for index in range(2):
            spent[index] += now[index] - self._mark[index]
        self._mark = now


def limit(options: argparse.Namespace) -> dict[str, Any]:
    """Bare steps on the suffix, and one pass of the prefix."""
    import keras
    import numpy as np
    import tensorflow as tf

    from finetune.backbones.freezing import apply_freeze_depth, resolve_depth
    from finetune.backbones.loading import load_backbone
    from finetune.data import load_data
    from finetune.reuse.cuts import extractor, find_cuts, flatten, split
    from finetune.reuse.fold import fold_batch_norm
    from finetune.training.assembly import assemble
    from finetune.training.head import Head, loss_for

    data = load_data(
        options.data, image_size=options.image_size, batch_size=options.batch, seed=options.seed
    )
    backbone = load_backbone("MobileNetV2", weights=options.weights, image_size=options.image_size)
    assembly = assemble(backbone, Head(data.task, len(data.class_names)))
    depth = resolve_depth(backbone.model, options.depth)
    apply_freeze_depth(backbone.model, depth)
    flat = flatten(backbone.model)
    tensors = find_cuts(flat, depth)[-1].tensors
    prefix, suffix = split(flat, tensors)
    inputs = [keras.Input(tensor.shape[1:]) for tensor in tensors]
    folded = fold_batch_norm(suffix)(inputs[0] if len(inputs) == 1 else inputs)
    trainee = keras.Model(inputs, assembly.classifier(assembly.pool(folded)))
    prepared = assembly.prepare(assembly.prepare.inputs[0])
    extract = extractor(keras.Model(assembly.prepare.inputs, prefix(prepared)))
    optimizer = keras.optimizers.Adam(options.rate)
    optimizer.build(trainee.trainable_variables)
    loss_of = loss_for(data.task)

    train, validation = (data.splits[name] for name in ("train", "validation"))
    images = np.concatenate([train.images, validation.images])
    batches = np.split(images, range(64, len(images), 64))
    extract(batches[0])
    watch = Stopwatch()
    with watch.part("pass of the frozen part"):
        parts = [extract(batch) for batch in batches]
        features = [tf.concat(values, 0) for values in zip(*parts, strict=True)]
    labels = tf.constant(train.labels)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)], autograph=False)
    def step(rows):
        with tf.GradientTape() as tape:
            values = [tf.gather(feature, rows) for feature in features]
            outputs = trainee(values[0] if len(values) == 1 else values, training=True)
            loss: Any = loss_of(tf.gather(labels, rows), outputs)
        variables = trainee.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    random = np.random.default_rng(options.seed)
    order = [
        rows
        for _ in range(options.epochs)
        for rows in np.split(
            random.permutation(len(train)), range(options.batch, len(train), options.batch)
        )
    ]
    step(order[0])
    steps = []
    with watch.part("training steps"):
        for rows in order:
            started = time.perf_counter()
            step(rows)
            steps.append(time.perf_counter() - started)
    seconds = watch.stop()
    seconds.pop(REST)
    return {"seconds": seconds, "steps": len(steps), "step": statistics.median(steps)}


def ours(options: argparse.Namespace) -> dict[str, Any]:
    """One call of `fine_tune`, part by part."""
    watch = Stopwatch()
    with watch.part("imports"):
        import keras.src.backend.tensorflow.trainer as trainer

        importlib.import_module("finetune.api.one_call")

    for place, name in (
        ("finetune.api.sized_images:load_data", "reading the images"),
        ("finetune.api.one_call:announce", "looking for what is odd about the images"),
        ("finetune.api.finishing:look_at", "what the report shows"),
        ("finetune.api.one_call:report_result", "the report"),
        ("finetune.tuning.pool:load_backbone", "backbone and its weights"),
        ("finetune.reuse.frozen:identity", "digest of the weights"),
        ("finetune.training.shared:SharedBackbone.reset", "building and compiling"),
        ("finetune.training.shared:SharedBackbone.program", "building and compiling"),
        ("finetune.reuse.features:FeatureCache._compute", "pass of the frozen part"),
        ("finetune.reuse.entries:EntryWriter.add", "features to disk"),
        ("finetune.reuse.entries:EntryWriter.finish", "features to disk"),
        ("finetune.training.solved_heads:_solve", "solving the head"),
        ("finetune.training.solved_heads:_measure", "solving the head"),
        ("finetune.training.records:BestEpoch.on_epoch_end", "history and best weights"),
        ("finetune.training.records:BestEpoch.restore", "history and best weights"),
        ("finetune.model.fine_tuned_model:FineTunedModel.outputs", "scores of the whole model"),
        ("finetune.model.fine_tuned_model:FineTunedModel.save", "saving the model"),
        ("finetune.api.one_call:write_files", "the rest of the run folder"),
    ):
        try:
            watch.wrap(place, name)
        except (AttributeError, ModuleNotFoundError):
            print(f"{place} is not there; its time counts elsewhere.", file=sys.stderr)
    _watch_extractors(watch)
    _watch_fit(watch, trainer.TensorFlowTrainer)
    call_fine_tune(options, options.data)
    steps = "fine_tune: training steps"
    return {
        "seconds": watch.stop(),
        "steps": len(watch.calls[steps]) + 1,
        "step": watch.median(steps),
    }


def _watch_extractors(watch: Stopwatch) -> None:
    import finetune.model.fine_tuned_model as whole
    import finetune.reuse.frozen as frozen

    plain = frozen.extractor

    def watched(name, what):
        return lambda model: watch.traced(plain(model), name, what)

    frozen.extractor = watched("pass of the frozen part", "frozen part")
    whole.extractor = watched("scores of the whole model", "whole model")


def _watch_fit(watch: Stopwatch, trainer: Any) -> None:
    """Tells apart what happens in Keras' fit; the head needs none, it is solved."""
    phase = "fine_tune"
    fit, evaluate, symbolic = trainer.fit, trainer.evaluate, trainer._symbolic_build
    make_train_function = trainer.make_train_function

    def watched_fit(self, *args, callbacks=None, **kwargs):
        self.evaluate = watch.traced(
            lambda *a, **k: evaluate(self, *a, **k),
            f"{phase}: validation passes",
            f"{phase}: validation step",
        )
        for name in ("batch_begin", "batch_end"):
            name = f"on_train_{name}"
            setattr(callbacks, name, watch.timed(getattr(callbacks, name), f"{phase}: callbacks"))
        try:
            with watch.part(f"{phase}: rest of fit"):
                return fit(self, *args, callbacks=callbacks, **kwargs)
        finally:
            del self.evaluate

    def watched_maker(self, *args, **kwargs):
        known = self.train_function
        make_train_function(self, *args, **kwargs)
        made = self.train_function
        if made is not known:
            names = f"{phase}: training steps", f"{phase}: training step"
            self.train_function = watch.traced(made, *names)

    trainer.fit = watched_fit
    trainer._symbolic_build = watch.timed(symbolic, TRACING + "Keras' symbolic build")
    trainer.make_train_function = watched_maker


def without_start_up(seconds: dict[str, list[float]], index: int) -> float:
    """Seconds (index 0) or CPU seconds (1) of what remains once all is imported and traced."""
    return sum(
        values[index]
        for name, values in seconds.items()
        if name not in START_UP and not name.startswith(TRACING)
    )


def print_tables(rows: list[dict]) -> None:
    """The ratio in each way of counting, then the parts, as medians over the rounds."""
    sides = {side: [row for row in rows if row["side"] == side] for side in ("limit", "ours")}
    print("| | limit | ours | ours / limit | without start-up | without start-up / limit |")
    print("|---|---|---|---|---|---|")
    for index, name in enumerate(("seconds", "CPU seconds")):
        least = [sum(v[index] for v in row["seconds"].values()) for row in sides["limit"]]
        whole = [sum(v[index] for v in row["seconds"].values()) for row in sides["ours"]]
        later = [without_start_up(row["seconds"], index) for row in sides["ours"]]
        cells = [f"{statistics.median(values):.1f}" for values in (least, whole, later)]
        ratios = [
            f"{statistics.median(a / b for a, b in zip(values, least, strict=True)):.2f}"
            for values in (whole, later)
        ]
        print(f"| {name} | {cells[0]} | {cells[1]} | {ratios[0]} | {cells[2]} | {ratios[1]} |")
    for side, mine in sides.items():
        step = statistics.median(row["step"] for row in mine) * 1e3
        print(f"\n{side}: {mine[0]['steps']} steps, median {step:.1f} ms\n")
        print("| part | seconds | CPU seconds |\n|---|---|---|")
        names = {name: None for row in mine for name in row["seconds"]}
        medians = {
            name: [
                statistics.median(row["seconds"].get(name, [0.0, 0.0])[index] for row in mine)
                for index in range(2)
            ]
            for name in names
        }
        for name, (wall, cpu) in sorted(medians.items(), key=lambda item: -item[1][0]):
            start = "*" * (name in START_UP or name.startswith(TRACING))
            print(f"| {start}{name}{start} | {wall:.2f} | {cpu:.2f} |")
    print("\n*In italics*: start-up.")


def main() -> None:
    """Run both sides in turn and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="image folder")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--epochs", type=int, default=10, help="of the fine-tune phase")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--side", choices=["limit", "ours"], help="one side, in this process")
    parser.add_argument("--seed", type=int, default=0, help="with --side")
    parser.add_argument("--json", type=Path, help="file of figures; what it holds is not run again")
    options = parser.parse_args()
    if options.side:
        figures = {"limit": limit, "ours": ours}[options.side](options)
        print(json.dumps({"side": options.side, "seed": options.seed} | figures))
        return
    how = {"depth": options.depth, "epochs": options.epochs, "rate": options.rate}
    plan = [
        (
            {"side": side, "seed": seed, **how},
            [__file__, *sys.argv[1:], "--side", side, "--seed", str(seed)],
        )
        for seed in options.seeds
        for side in ("limit", "ours")
    ]
    print_tables(fill(plan, options.json))


if __name__ == "__main__":
    main()
