"""What `finetune demo` runs on: real handwritten digits and a small pretrained backbone.

`train_backbone` is the script that made the backbone's weights.
"""

from importlib import resources
from pathlib import Path

from finetune.cli.demo.digits import write_digits

__all__ = ["backbone_path", "write_digits"]


def backbone_path() -> Path:
    """Finds the demo's backbone, a `.keras` file that ships with the package.

    The network (`finetune.cli.demo.network.build_backbone`) was trained on distorted printed
    characters; its images are 32 x 32 x 3, prepared with the `"tf"` preprocessing.

    Returns:
        The path of the file.

    Example:
        >>> backbone_path().name
        'backbone.keras'
    """
    return Path(str(resources.files(__name__) / "backbone.keras"))
