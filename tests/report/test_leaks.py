"""What a run says of test images that it was trained on, and of images decided about."""

import json

import numpy as np
import pytest

from finetune.data import Fix, load_data, write_fixes
from finetune.report.answer import answer
from tiny import make_images


@pytest.fixture(scope="module")
def leaking(tune, tmp_path_factory):
    """Eight of twenty test images are mirrored training images; two images are decided about."""
    images, labels = make_images(20, classes=2)
    fresh, fresh_labels = make_images(6, classes=2, seed=1)
    test = np.concatenate([images[::5, :, ::-1], fresh])
    loaded = load_data((images, labels), image_size=16, validation=None).splits["train"]
    file = tmp_path_factory.mktemp("decided") / "fixes.csv"
    write_fixes(
        file,
        [Fix(loaded.content[1], "leave out"), Fix(loaded.content[2], "relabel", "1")],
    )
    return tune(
        (images, labels),
        test=(test, np.concatenate([labels[::5], fresh_labels])),
        validation=0.3,
        refit=0,
        fixes=file,
    )


def test_the_accuracy_without_near_copies_stands_beside_that_on_all(leaking):
    held_back = leaking.data.kept_together("validation")
    copies = leaking.data.kept_together("test")[:8]
    # What is validated with is trained on in the end, and counts, too.
    assert len(leaking.data.report.near) == 8 - sum(copy in held_back for copy in copies)
    apart = leaking.test.apart
    assert (leaking.test.n, apart.n) == (20, 12) and apart.apart is None
    told = f"{apart.accuracy:.3f} [{apart.interval[0]:.3f}, {apart.interval[1]:.3f}] (n=12)"
    assert f"(n=20); accuracy {told} on the images without a near copy" in leaking.summary()
    assert leaking.validation.apart is None  # split off here: no copy is on both sides


def test_the_files_and_the_page_say_so_too(leaking, read_facts):
    metrics = json.loads((leaking.folder / "metrics.json").read_text())
    assert metrics["test"]["apart"]["n"] == 12
    facts = read_facts(leaking.folder / "report.html")
    assert facts["figures"]["test"]["apart"]["accuracy"] == leaking.test.apart.accuracy
    assert answer(facts)["remarks"][0].startswith(
        "8 of these 20 images have a near or an exact copy among the images that were trained on. "
        "On the 12 others accuracy is "
    )


def test_what_was_fixed_is_said_everywhere(leaking, read_facts):
    fixed = json.loads((leaking.folder / "metrics.json").read_text())["fixed"]
    assert (fixed["left_out"], fixed["relabelled"], fixed["unmet"]) == (1, 1, 0)
    told = "1 images were left out, 1 given another label."
    assert told in leaking.summary()
    assert any(
        told in line for line in read_facts(leaking.folder / "report.html")["about"]["remarks"]
    )
