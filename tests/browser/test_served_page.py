"""The page of a server, in a browser: every way to give it an image, and names that would act."""

import base64
import io

import pytest
from PIL import Image

from finetune.model import FineTunedModel, ModelCard
from serve_running import Running
from tiny import EVIL, build_colour_model, build_colour_model_with_places

NAMES = ("red", EVIL, "blue")

# What the browser does when a file is dropped or pasted, from the file's content on.
GIVE = """
const [kind, name, content] = arguments;
const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
const data = new DataTransfer();
data.items.add(new File([bytes], name, {type: "image/png"}));
const event = kind === "paste"
  ? new ClipboardEvent("paste", {clipboardData: data, bubbles: true})
  : new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
document.getElementById("drop").dispatchEvent(event);
"""


@pytest.fixture(scope="module")
def server(chromium):
    from finetune.serve import create_app

    card = ModelCard("multiclass", NAMES, (8, 8), "squash")
    with Running(create_app(FineTunedModel(build_colour_model(), card))) as running:
        yield f"http://127.0.0.1:{running.port}/"


@pytest.fixture(scope="module")
def mapping_server(chromium):
    from finetune.serve import create_app

    with Running(create_app(build_colour_model_with_places(NAMES))) as running:
        yield f"http://127.0.0.1:{running.port}/"


def encoded(image):
    buffer = io.BytesIO()
    image.save(buffer, "png")
    return base64.b64encode(buffer.getvalue()).decode()


def png(colour):
    return encoded(Image.new("RGB", (40, 30), colour))


def wait_for_answer(browser):
    """Wait until the page says something, and hold it to be no complaint."""
    browser.wait("['answer', 'error'].some((id) => !document.getElementById(id).hidden)")
    assert browser.texts("#error") == [""]


@pytest.mark.parametrize("kind", ["drop", "paste"])
@pytest.mark.parametrize(("colour", "label"), [("red", "red"), ("lime", EVIL)])
def test_an_image_that_is_dropped_or_pasted_is_classified(browser, server, kind, colour, label):
    browser.open(server)
    browser.run(GIVE, kind, 'a "quoted" </script> name.png', png(colour))
    wait_for_answer(browser)
    assert browser.texts("#label") == [label]
    assert browser.texts("#classes td:first-child")[0] == label
    assert browser.texts("#classes td:last-child") == ["57.6 %", "21.2 %", "21.2 %"]
    browser.wait("document.getElementById('shown').naturalWidth === 40")
    assert browser.messages() == []


def test_a_file_that_is_chosen_is_classified_and_one_that_is_no_image_is_refused(
    browser, server, tmp_path
):
    browser.open(server)
    field = browser.driver.find_element("id", "file")
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "blue.png")
    field.send_keys(str(tmp_path / "blue.png"))
    wait_for_answer(browser)
    assert browser.texts("#label") == ["blue"]
    (tmp_path / "text.png").write_text("no image")
    field.send_keys(str(tmp_path / "text.png"))
    browser.wait("!document.getElementById('error').hidden")
    assert browser.texts("#error")[0].startswith("The data (8 bytes) is not an image")
    assert browser.run("return document.getElementById('answer').hidden")


# How dark the veil is at half the picture's height, at shares of its width.
DARK = """
const canvas = document.getElementById("map");
const row = canvas.getContext("2d").getImageData(0, canvas.height / 2, canvas.width, 1).data;
return arguments[0].map((x) => row[4 * Math.floor(canvas.width * x) + 3] / 255);
"""


def test_where_the_image_speaks_for_its_class_is_lit_and_can_be_switched_off(
    browser, mapping_server
):
    browser.open(mapping_server)
    image = Image.new("RGB", (80, 40), "black")
    image.paste("lime", (60, 0, 80, 40))  # the right quarter of an image that is padded
    browser.run(GIVE, "drop", "right.png", encoded(image))
    wait_for_answer(browser)
    browser.wait("!document.getElementById('looked').hidden")
    assert browser.texts("#looked")[0].strip() == f"Show where it looked for {EVIL}"
    left, right = browser.run(DARK, [0.2, 0.95])
    assert right < 0.1 < 0.6 < left
    shown, veil = (
        browser.run(
            "const r = document.getElementById(arguments[0]).getBoundingClientRect();"
            "return [r.x, r.y, r.width, r.height]", name
        )
        for name in ("shown", "map")
    )  # fmt: skip
    assert veil == pytest.approx(shown, abs=1)
    browser.driver.find_element("id", "mapped").click()
    assert browser.run("return document.getElementById('map').hidden")
    assert browser.messages() == []
    browser.run(GIVE, "drop", "text.png", base64.b64encode(b"no image").decode())
    browser.wait("!document.getElementById('error').hidden")
    assert browser.run("return document.getElementById('looked').hidden")


def test_nothing_is_asked_of_any_other_machine(browser, server):
    browser.open(server)
    browser.run(GIVE, "drop", "red.png", png("red"))
    wait_for_answer(browser)
    asked = [address for address in browser.asked_for() if address[:5] not in ("blob:", "data:")]
    assert {address.removeprefix(server) for address in asked} == {
        *("", "page.css", "page.js", "model", "predict"),
    }


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1600])
def test_it_fits_the_window_and_can_be_read(browser, server, width, dark):
    browser.open(server, width=width, dark=dark)
    browser.run(GIVE, "drop", "lime.png", png("lime"))
    wait_for_answer(browser)
    assert browser.overflow() == 0
    for selector in ("h1", "header p", "#label", "#note", "footer"):
        assert browser.contrast(selector) >= 4.5, selector
