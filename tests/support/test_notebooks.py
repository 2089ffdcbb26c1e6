"""What a notebook shows."""

from finetune.support import as_html


def test_nothing_that_comes_from_people_acts():
    shown = as_html("<i>", [["<script>", "\"'"]], ["&"])
    assert "<i>" not in shown and "<script>" not in shown
    assert "&lt;i&gt;" in shown and "&lt;script&gt;" in shown and "&quot;&#x27;" in shown


def test_a_dozen_rows_are_shown_and_how_many_more_there_are():
    shown = as_html("many", [[f"row {number}"] for number in range(1012)])
    assert ("row 11<" in shown, "row 12<" in shown) == (True, False)
    assert "and 1,000 more" in shown
