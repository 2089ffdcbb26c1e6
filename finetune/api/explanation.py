"""Before a training: where it could start, and what each choice would cost."""

from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.table import Table

from finetune.reuse import PIXELS, Candidate
from finetune.support import as_plain_text


@dataclass(frozen=True)
class Explanation:
    """Where a training with frozen layers could start. Made by `explain`.

    Args:
        depth: Number of frozen layers.
        layers: Number of layers of the backbone.
        images: Rows that would be kept: every view of every training image, and the validation
            images.
        epochs: Epochs of the second phase.
        candidates: What can be chosen, from the input on.
    """

    depth: int
    layers: int
    images: int
    epochs: int
    candidates: list[Candidate]

    def __str__(self) -> str:
        head = f"Freeze depth {self.depth} of {self.layers} layers, {self.images:,} rows"
        if not self.candidates:
            return f"{head}: nothing but the head is trained, on features of the whole backbone."
        table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        table.add_column("features after")
        for name in ("MB an image", "GB", "run again", "seconds"):
            table.add_column(name, justify="right")
        table.add_column("")
        for candidate in self.candidates:
            option = candidate.option
            kept = option.place != PIXELS
            table.add_row(
                candidate.where,
                f"{option.row_bytes / 1e6:.2f}",
                f"{option.row_bytes * self.images / 1e9:.2f}" if kept else "",
                f"{option.share:.0%}",
                f"{candidate.seconds:.1f}",
                candidate.remark,
            )
        return (
            f"{head}, {self.epochs} epochs\n\n{as_plain_text(table)}\n\n"
            "run again: share of the frozen layers' multiply-adds that every step repeats\n"
            "seconds: to compute and load features and to run frozen layers again, estimated"
        )
