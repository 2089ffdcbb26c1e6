"""How near the estimate of what reuse spares comes to what it spares, for one backbone.

    python benchmarks/spared.py shoes_brands/ --weights mobilenet_v2_0.35_224_no_top.h5 --alpha 0.35

In turn, in one process: a pass over the training images, which the estimate is made from; some
training steps from features; and as many from the pixels (reuse=False). What the steps differ by
is what is spared. CPU seconds are compared, which other work on the machine disturbs less than wall
time; the last column has both.
"""

import argparse
import os
import time
from functools import partial
from typing import Any

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main() -> None:
    """Measure, and print a row of a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="image folder")
    parser.add_argument("--backbone", default="MobileNetV2")
    parser.add_argument("--alpha", type=float)
    parser.add_argument("--weights", default="imagenet", help='a file, "imagenet" or "none"')
    parser.add_argument("--preprocess", help="how a model file wants its images")
    parser.add_argument("--image-size", type=int, default=160)
    parser.add_argument("--freeze-depth", type=float, default=0.35)
    parser.add_argument("--steps", type=int, default=8, help="of each kind in a round")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()

    from finetune import load_data
    from finetune.api.one_call import _trainer  # what fine_tune makes of its arguments
    from finetune.reuse.effort import Pace
    from finetune.training import program_for

    data = load_data(options.data, image_size=options.image_size)
    given: dict[str, Any] = {"backbone": options.backbone, "image_size": options.image_size}
    if not options.backbone.endswith(".keras"):
        given["weights"] = None if options.weights == "none" else options.weights
    if options.alpha:
        given["backbone_options"] = {"alpha": options.alpha}
    if options.preprocess:
        given["preprocess"] = options.preprocess

    trainees = {}
    for reuse in (True, False):
        trainer, _ = _trainer({**given, "reuse": reuse}, options.freeze_depth, 3e-4)
        values = trainer.settings()
        source = trainer.source_of(data, values)
        shared, training = trainer.prepare(values, source)
        phase = training.phases[-1]
        program = program_for(shared, training, phase, source, shared.head_only)
        batches, _ = shared.batches(program, source, seed=0)
        program.restart(phase.learning_rate)
        trainees[reuse] = shared, source, program, batches

    def go_through() -> None:
        shared, source, *_ = trainees[True]
        shared.cache.kept.clear()  # else it would begin at the features that are kept
        shared.frozen.computed(source, "train", shared.mark_pooled())

    def steps(reuse: bool, number: int = options.steps) -> None:
        _, _, program, batches = trainees[reuse]
        program.freeze()
        program.trainee.fit(batches.dataset(), steps_per_epoch=number, shuffle=False, verbose=0)

    shared, source, program, _ = trainees[True]
    go_through(), steps(True, 1), steps(False, 1)  # what is compiled now is not timed
    shared.frozen.pace = Pace()
    kinds = {"pass": go_through, "with": partial(steps, True), "without": partial(steps, False)}
    took = {name: np.zeros(2) for name in kinds}  # CPU and wall seconds
    for _ in range(options.rounds):
        for name, run in kinds.items():
            began = np.array([time.process_time(), time.perf_counter()])
            run()
            took[name] += [time.process_time(), time.perf_counter()] - began
    images = options.rounds * options.steps * source.batch_size
    shared.began[program.point] += images
    found = shared.spared(0.0, pass_anyway=True)
    assert found is not None
    passed = 1e3 * took["pass"] / (options.rounds * len(data.splits["train"]))
    used, plain = (1e3 * took[name] / images for name in ("with", "without"))
    estimate = passed * found.image_ms / found.pass_ms
    off = estimate / (plain - used) - 1
    print(
        f"| {options.backbone}, {options.image_size} px | {passed[0]:.2f} | {used[0]:.2f} "
        f"| {plain[0]:.2f} | {plain[0] - used[0]:.2f} | {estimate[0]:.2f} "
        f"| {off[0]:+.0%}, {off[1]:+.0%} |"
    )


if __name__ == "__main__":
    main()
