"""How many images each class has."""

from collections.abc import Mapping

from finetune.checks.findings import Finding, Group

# Times that the largest class is larger than the smallest: from there on a model is noticeably
# better at the large ones.
_IMBALANCED = 3.0
# Fewer say next to nothing of a class: with 10 images right, 69% to 100% is what can be said.
_FEW = 20


def find_imbalance(counts: Mapping[str, Mapping[str, int]]) -> list[Finding]:
    """Looks at the numbers of images by split and class.

    Args:
        counts: See `ImageData.counts`.

    Example:
        >>> found = find_imbalance({"train": {"a": 100, "b": 10}})
        >>> [group.why for group in found[0].groups]
        ['a has 10.0 times as many images as b (100 and 10)', 'b has 10 images in all']
    """
    together: dict[str, int] = {}
    for classes in counts.values():
        for name, count in classes.items():
            together[name] = together.get(name, 0) + count
    most, least = (choose(together, key=together.__getitem__) for choose in (max, min))
    groups = []
    if together[most] >= _IMBALANCED * together[least]:
        times = together[most] / max(1, together[least])
        groups.append(
            Group(
                (),
                f"{most} has {times:.1f} times as many images as {least} "
                f"({together[most]:,} and {together[least]:,})",
            )
        )
    groups += [
        Group((), f"{name} has {count} images in all")
        for name, count in sorted(together.items(), key=lambda one: one[1])
        if count < _FEW
    ]
    return [Finding("classes", tuple(groups))] if groups else []
