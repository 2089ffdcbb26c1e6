"""The report, in a browser: it sorts, filters and brushes, and nothing in it acts or asks."""

import numpy as np
import pytest
from PIL import Image

from finetune import FineTuner, fine_tune, load_data
from tiny import EVIL, make_images

FILE = """ 'quoted' "twice" </script><b>.png"""


@pytest.fixture(scope="module")
def folder(chromium, tmp_path_factory):
    """Images of which a class and a file have names that would act if they were let."""
    root = tmp_path_factory.mktemp("images")
    images, labels = make_images(12)
    names = ("boots", "sandals", EVIL.replace("/", "\N{FULLWIDTH SOLIDUS}"))
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = root / names[label]
        place.mkdir(exist_ok=True)
        name = FILE.replace("/", "\N{FULLWIDTH SOLIDUS}")
        Image.fromarray(image).save(place / f"{number:03}{name}")
    return root


TINY = {"preprocess": "tf", "freeze_depth": 10, "epochs": 2, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def run(folder, make_backbone, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    options = {**TINY, "image_size": 16, "test": 0.3, "validation": 0.3, "verbose": 0}
    fine_tune(folder, backbone=make_backbone(), out=out, **options)
    return out / "report.html"


@pytest.fixture(scope="module")
def study(folder, make_backbone, tmp_path_factory):
    out = tmp_path_factory.mktemp("study")
    data = load_data(folder, image_size=16, test=0.3, validation=0.3)
    tuner = FineTuner(
        make_backbone(), **TINY | {"learning_rate": [1e-3, 1e-2], "freeze_depth": [7, 10]}
    )
    tuner.search(data, strategy="grid", out=out, verbose=0)
    return out / "report.html"


@pytest.fixture(params=["run", "study"])
def page(request):
    return request.getfixturevalue(request.param)


def test_nothing_is_said_on_the_console_and_nothing_asked_of_the_network(browser, page, as_address):
    browser.open(as_address(page))
    assert browser.messages() == []
    asked = [address for address in browser.asked_for() if not address.startswith("data:")]
    assert asked == [as_address(page)]


def test_names_that_would_act_are_shown_as_text(browser, run, as_address):
    browser.open(as_address(run))
    text = browser.run("return document.body.innerText")
    assert "alert(1)" in text and "'quoted' \"twice\"" in text
    assert browser.run("return document.querySelectorAll('script').length") == 2
    assert (
        browser.run("return document.querySelectorAll('main b b, figcaption b:empty').length") == 0
    )


def test_every_picture_loads(browser, run, as_address):
    browser.open(as_address(run))
    pictures = browser.run(
        "return [...document.querySelectorAll('image')].map((i) => i.getAttribute('href'))"
    )
    assert len(pictures) > 5
    sizes = browser.driver.execute_async_script(
        """
        const [addresses, done] = arguments;
        Promise.all(addresses.map((address) => new Promise((resolve) => {
          const image = new Image();
          image.onload = () => resolve(image.naturalWidth);
          image.onerror = () => resolve(0);
          image.src = address;
        }))).then(done);
        """,
        pictures,
    )
    assert min(sizes) > 0


def test_a_heading_sorts_the_table_by_its_column(browser, run, as_address):
    browser.open(as_address(run))
    read = "#classes table.sortable tbody td:nth-child(3)"
    button = "document.querySelectorAll('#classes table.sortable th button')[2].click()"
    browser.run(button)
    ascending = [int(text) for text in browser.texts(read)]
    assert ascending == sorted(ascending) and len(ascending) == 3
    browser.run(button)
    assert [int(text) for text in browser.texts(read)] == sorted(ascending, reverse=True)


def marked(browser):
    return browser.run(
        "return [...document.querySelectorAll('.on[data-trial]')]"
        ".map((e) => [e.closest('svg, table').getAttribute('class'), e.dataset.trial])"
    )


def test_what_is_marked_in_one_place_is_marked_in_all(browser, study, as_address):
    browser.open(as_address(study))
    assert marked(browser) == []
    browser.run("document.querySelector('#board tbody tr').click()")
    first = marked(browser)
    assert len({trial for _, trial in first}) == 1
    assert len({place for place, _ in first}) == 3, "the map, the axes and the board"
    browser.run("document.getElementById('clear').click()")
    assert marked(browser) == []


def test_dragging_over_the_map_marks_the_trials_within(browser, study, as_address):
    browser.open(as_address(study))
    left, top, right, bottom = browser.run(
        "const map = document.querySelector('svg.map');"
        "map.scrollIntoView({block: 'center'});"
        "const box = map.getBoundingClientRect();"
        "return [box.left, box.top, box.right, box.bottom]"
    )
    for kind, x, y in (
        ("mousePressed", left + 3, top + 3),
        ("mouseMoved", (left + right) / 2, (top + bottom) / 2),
        ("mouseMoved", right - 3, bottom - 3),
        ("mouseReleased", right - 3, bottom - 3),
    ):
        browser.command(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
        )
    trials = browser.run("return document.querySelectorAll('#board tbody tr').length")
    shown = browser.run("return document.querySelectorAll('#board tbody tr.on').length")
    assert shown == trials == 4


def test_words_filter_the_trials(browser, study, as_address):
    browser.open(as_address(study))
    field = browser.driver.find_element("id", "find")
    name = browser.texts("#board tbody td:nth-child(2)")[1]
    field.send_keys(name)
    assert {trial for _, trial in marked(browser)} == {name}


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1600])
def test_it_fits_the_window_and_can_be_read(browser, page, as_address, width, dark):
    browser.open(as_address(page), width=width, dark=dark)
    assert browser.overflow() == 0
    for selector in ("h2", ".remark", ".small"):
        assert browser.contrast(selector) >= 4.5, selector


def test_it_can_be_read_without_script(browser, page, as_address):
    browser.command("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(as_address(page))
        document = browser.command("DOM.getDocument", depth=0)["root"]["nodeId"]
        html = browser.command("DOM.getOuterHTML", nodeId=document)["outerHTML"]
    finally:
        browser.command("Emulation.setScriptExecutionDisabled", value=False)
    assert "accuracy" in html and np.char.count(html, "<h2>") >= 3
