"""How near the estimate of what reuse spares comes to what it spares, for one backbone.

    python benchmarks/spared.py shoes_brands/ --weights mobilenet_v2_0.35_224_no_top.h5 --alpha 0.35

In turn, in one process: a pass over the training images, which the estimate is made from; some
training steps from features; and as many from the pixels (reuse=False). What the steps differ by is
what is spared. Other work on the machine disturbs all three alike, over some rounds.
"""

import argparse
import os
import time
from typing import Any

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

    def steps(reuse: bool, number: int) -> float:
        _, _, program, batches = trainees[reuse]
        program.freeze()
        started = time.perf_counter()
        program.trainee.fit(batches.dataset(), steps_per_epoch=number, shuffle=False, verbose=0)
        return time.perf_counter() - started

    shared, source, program, batches = trainees[True]
    for warm_up in (go_through, lambda: steps(True, 1), lambda: steps(False, 1)):
        warm_up()  # what is compiled now is not timed
    shared.frozen.pace = Pace()
    took = {True: 0.0, False: 0.0}
    for _ in range(options.rounds):
        go_through()
        for reuse in took:
            took[reuse] += steps(reuse, options.steps)
    images = options.rounds * options.steps * source.batch_size
    shared.began[program.point] += images
    found = shared.spared(0.0, pass_anyway=True)
    assert found is not None
    real = 1e3 * (took[False] - took[True]) / images
    print(
        f"| {options.backbone}, {options.image_size} px | {found.pass_ms:.2f} "
        f"| {1e3 * took[True] / images:.2f} | {1e3 * took[False] / images:.2f} | {real:.2f} "
        f"| {found.image_ms:.2f} | {found.image_ms / real - 1:+.0%} |"
    )


if __name__ == "__main__":
    main()
