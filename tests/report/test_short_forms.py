"""What ends a cell of a notebook: a line as text, a small table as HTML, nothing that acts."""

import pytest

from tiny import EVIL


@pytest.fixture(scope="module")
def shown(result):
    return {
        "result": result,
        "data": result.data,
        "predictions": result.predict(result.data.splits["test"].images),
        "score": result.test,
        "evaluation": result.evaluate(),
    }


def test_the_text_is_short(shown):
    texts = {name: repr(value) for name, value in shown.items() if name != "evaluation"}
    assert max(map(len, texts.values())) < 300
    folder = shown["result"].folder
    assert texts["result"] == f"<FineTuneResult: tiny, test {shown['score']}, in {folder}>"
    counts = {split: len(images) for split, images in shown["data"].splits.items()}
    told = ", ".join(f"{count} {split}" for split, count in counts.items())
    assert texts["data"] == f"<ImageData: 3 classes, {told} images, 16 x 16 pixels>"
    first = shown["predictions"].labels[0]
    assert texts["predictions"] == f"<Predictions: {counts['test']} images, the first {first!r}>"


def test_the_html_is_small_and_holds_no_script(shown):
    for value in shown.values():
        html = value._repr_html_()
        assert len(html) < 5000
        assert EVIL not in html
        assert "<script" not in html


def test_the_html_of_images_is_a_table_of_classes_by_splits(shown):
    html = shown["data"]._repr_html_()
    for split, counts in shown["data"].counts.items():
        assert f">{split}</th>" in html
        for count in counts.values():
            assert f">{count}</td>" in html
    assert "&lt;script&gt;alert(1)" in html
