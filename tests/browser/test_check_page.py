"""The page of a check, in a browser: what is chosen beside a picture comes out as a table."""

import csv

import pytest
from PIL import Image

import finetune
from finetune.data import read_fixes
from tiny import EVIL, make_images

NAME = EVIL.replace("/", "\N{FULLWIDTH SOLIDUS}")


@pytest.fixture(scope="module")
def found(chromium, tmp_path_factory):
    """A class and files with names that would act if they were let; a copy under two labels."""
    root = tmp_path_factory.mktemp("images")
    images, labels = make_images(12, classes=2)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = root / ("boots", NAME)[label]
        place.mkdir(exist_ok=True)
        Image.fromarray(image).resize((64, 64)).save(place / f"{number:03},\"'{NAME}.png")
    first = min((root / "boots").iterdir())
    (root / NAME / f"=again {NAME}.png").write_bytes(first.read_bytes())
    out = tmp_path_factory.mktemp("out")
    return finetune.check(root, quick=True, fix=True, out=out, verbose=0)


def test_nothing_acts_and_nothing_is_fetched_in_a_page_that_fits(browser, found, as_address):
    page = found.folder / "check.html"
    for width in (1600, 390):
        browser.open(as_address(page), width=width)
        assert browser.messages() == [] and browser.overflow() <= 0
    asked = [address for address in browser.asked_for() if not address.startswith("data:")]
    assert {*asked} == {as_address(page)}
    assert NAME in browser.texts("figcaption b")


def test_what_is_chosen_comes_out_as_a_table_that_loading_obeys(
    browser, found, as_address, tmp_path
):
    browser.open(as_address(found.folder / "check.html"))
    assert browser.texts("#said") == ["1 to leave out, 0 to relabel, 0 to keep"]
    browser.run(
        """
        URL.createObjectURL = (blob) => { blob.text().then((text) => { window.saved = text; });
                                          return "#"; };
        const select = document.querySelector("select[data-content]");
        select.selectedIndex = [...select.options].findIndex((one) => one.value === "relabel");
        select.dispatchEvent(new Event("change"));
        document.getElementById("save").click();
        """
    )
    browser.wait("window.saved")
    assert browser.texts("#said") == ["0 to leave out, 1 to relabel, 0 to keep"]
    file = tmp_path / "fixes.csv"
    file.write_text(browser.run("return window.saved"), newline="")
    (fix,) = read_fixes(file).values()
    # The first of the two copies is of the other class.
    assert (fix.action, fix.label) == ("relabel", "boots")
    with open(found.folder / "fixes.csv", newline="") as written:
        assert fix.path == next(csv.DictReader(written))["path"]
