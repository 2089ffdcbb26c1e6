"""Fine-tune MobileNetV2 on MNIST in two phases: from photographs to handwritten digits.

    python recipes/mnist.py --data tfds:mnist --data-dir TFDS_FOLDER --weights imagenet

An image folder will do as well: --data FOLDER (recipes/mnist_from_idx.py makes either). All layers
train, at a high rate that a cosine brings down: strokes have little in common with photographs.
"""

import argparse

from finetune import fine_tune


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="tfds:mnist", help="tfds:mnist or an image folder")
    parser.add_argument("--data-dir", help="where TFDS has, or is to put, its prepared datasets")
    parser.add_argument("--weights", default="imagenet", help="imagenet, a weights file, or none")
    parser.add_argument("--alpha", type=float, default=0.35, help="width of the backbone")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=8, help="of the second phase")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="run folder; default: a new one in runs/")
    options = parser.parse_args(arguments)
    result = fine_tune(
        options.data,
        data_dir=options.data_dir,
        weights=None if options.weights == "none" else options.weights,
        backbone_options={"alpha": options.alpha},
        image_size=options.image_size,
        validation=0.1,
        batch_size=64,
        augment="none",  # "light" would mirror the digits
        head_epochs=3,  # enough for a start: all layers train after it
        epochs=options.epochs,
        freeze_depth=0,
        learning_rate=1e-3,
        schedule="cosine",
        seed=options.seed,
        out=options.out,
    )
    print(result)


if __name__ == "__main__":
    main()

# To change first: learning_rate, then freeze_depth. On fewer digits than MNIST's 60,000 freeze more
# layers, such as 0.35; for other drawings than digits try augment="light", which mirrors.
