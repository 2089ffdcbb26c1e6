"""The server as clients meet it: over a socket, with files that are images and others."""

import io
import json
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from extras import require
from finetune.model import FineTunedModel, ModelCard, PredictionSets
from serve_running import Running
from tiny import build_colour_model, build_colour_model_with_places

require("starlette")
uvicorn = require("uvicorn")

from finetune.serve import Limits, create_app, serve  # noqa: E402

SURE = np.e / (np.e + 2)


SETS = PredictionSets(tuple(np.linspace(0.3, 0.99, 39)))


def png(colour="red", size=(8, 8)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "png")
    return buffer.getvalue()


def model_of(task="multiclass", names=("red", "green", "blue")):
    return FineTunedModel(build_colour_model(task), ModelCard(task, names, (8, 8), "squash"))


@pytest.fixture(scope="module")
def running():
    limits = Limits(bytes=50_000, pixels=10_000)
    with Running(create_app(model_of(), limits=limits, hosts=("localhost", "127.0.0.1"))) as server:
        yield server


def test_an_image_is_the_body_and_the_answer_is_json(running):
    status, answer = running.post(png())
    assert (status, answer["label"]) == (200, "red")
    assert list(answer["probabilities"]) == ["red", "green", "blue"]
    assert answer["probabilities"]["red"] == pytest.approx(SURE, abs=1e-6)


def test_what_is_asked_besides_is_heeded(running):
    _, answer = running.post(png("blue"), "/predict?top_k=1&threshold=0.6")
    assert answer == {"label": None, "probabilities": {"blue": pytest.approx(SURE, abs=1e-6)}}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/predict?top_k=0", 'top_k to be a whole number from 1 to 1000000, received "0"'),
        ("/predict?top_k=x", 'received "x"'),
        ("/predict?threshold=nan", "threshold to be a number from 0 to 1"),
    ],
)
def test_a_parameter_that_is_none_is_refused(running, path, text):
    status, answer = running.post(png(), path)
    assert status == 422 and text in answer["error"]


def test_where_an_image_speaks_for_its_class_is_answered_where_it_is_asked():
    model = build_colour_model_with_places()
    image = np.full((8, 8, 3), 20, np.uint8)
    image[:4, 4:, 2] = 255  # blue in the upper right
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "png")
    with Running(create_app(model)) as server:
        plain = server.post(buffer.getvalue())
        with ThreadPoolExecutor(4) as clients:
            answers = list(
                clients.map(
                    lambda path: server.post(buffer.getvalue(), path),
                    ["/predict?map=1", "/predict", "/predict?map=1", "/predict?map=0"],
                )
            )
        about = json.loads(server.ask("GET", "/model")[2])
    assert about["activation_map"] is True and about["resize"] == "pad"
    assert plain[1]["label"] == "blue" and "activation_map" not in plain[1]
    assert answers[1] == answers[3] == plain
    for status, answer in (answers[0], answers[2]):
        found = np.array(answer.pop("activation_map"))
        assert (status, answer) == plain
        np.testing.assert_allclose(found, model.explain(image).maps[0], atol=1e-4)
        np.testing.assert_allclose(found[:2, 2:], 1, atol=1e-4)
        np.testing.assert_allclose(found[2:], 20 / 255, atol=1e-4)


def test_a_model_without_maps_says_why_and_its_page_does_not_ask(running):
    status, answer = running.post(png(), "/predict?map=1")
    assert status == 422
    assert answer["error"].startswith("Expected a model that averages over the places of an image")
    assert json.loads(running.ask("GET", "/model")[2])["activation_map"] is False


def huge_png():
    """A few bytes that say that they are 200 x 100 pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", 200, 100, 8, 2, 0, 0, 0)
    checked = head + struct.pack(">I", zlib.crc32(head))
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\r" + checked + b"\x00\x00\x00\x08IDAT"


@pytest.mark.parametrize(
    ("body", "headers", "status", "text"),
    [
        (b"", {}, 400, "received nothing"),
        (b"no image at all", {}, 400, "The data (15 bytes) is not an image that can be read"),
        (b"x" * 50_001, {}, 413, "Expected at most 50,000 bytes. Send a smaller copy."),
        (huge_png(), {}, 413, "Expected at most 10,000 pixels, received 200 x 100."),
        (png(), {"Content-Type": "multipart/form-data; boundary=x"}, 415, "--data-binary"),
        (b'{"url": "file:///etc/passwd"}', {"Content-Type": "application/json"}, 415, "itself"),
    ],
    ids=["empty", "text", "too many bytes", "too many pixels", "form", "json"],
)
def test_what_is_no_image_of_a_fair_size_is_refused(running, body, headers, status, text):
    told, answer = running.post(body, **headers)
    assert told == status and text in answer["error"]


def test_a_body_that_does_not_tell_its_length_is_cut_off(running):
    status, answer = running.post(iter([b"x" * 40_000] * 3))
    assert status == 413 and "Send a smaller copy" in answer["error"]


def test_a_page_elsewhere_cannot_reach_it_by_another_name(running):
    assert running.ask("GET", "/healthz", Host="evil.example")[0] == 400
    assert running.ask("GET", "/healthz", Host="localhost")[0] == 200


@pytest.mark.parametrize(
    ("host", "status", "warned"),
    [
        ("127.0.0.1", 400, []),
        ("localhost", 400, []),
        (
            "0.0.0.0",
            200,
            [
                "Everybody who reaches 0.0.0.0 may ask: there is no password. Put a proxy with one "
                "before it, or leave host out."
            ],
        ),
    ],
)
def test_a_server_for_others_goes_by_any_name_and_warns_of_it(
    monkeypatch, caplog, host, status, warned
):
    begun = []
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: begun.append((app, options)))
    serve(model_of(), host=host, port=8123)
    ((app, options),) = begun
    assert (options["host"], options["port"]) == (host, 8123)
    assert caplog.messages == warned
    with Running(app) as server:
        assert server.ask("GET", "/healthz", Host="elsewhere.example")[0] == status
        assert server.ask("GET", "/healthz", Host="localhost")[0] == 200


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css", "/predict", "/nowhere"])
def test_every_answer_tells_the_browser_to_trust_nothing_else(running, path):
    _, headers, _ = running.ask("GET", path)
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy and headers["x-content-type-options"] == "nosniff"
    assert "server" not in headers or "uvicorn" in headers["server"]


def test_the_page_asks_nothing_of_other_machines(running):
    for path in ("/", "/page.js", "/page.css"):
        status, _, body = running.ask("GET", path)
        assert status == 200
        assert b"http:" not in body.replace(b"http://localhost:8000", b"")
        assert b"https:" not in body and b"innerHTML" not in body


def test_unknown_paths_and_methods_are_told_as_json(running):
    for method, path, status in (("GET", "/nowhere", 404), ("GET", "/predict", 405)):
        told, _, body = running.ask(method, path)
        assert told == status and "error" in json.loads(body)


def test_the_interface_describes_every_answer_of_predict(running):
    described = json.loads(running.ask("GET", "/openapi.json")[2])
    assert described["openapi"].startswith("3.1")
    post = described["paths"]["/predict"]["post"]
    assert {*post["responses"]} == {"200", "400", "413", "415", "422", "503"}
    assert {parameter["name"] for parameter in post["parameters"]} == {"top_k", "threshold", "map"}
    known = json.loads(running.ask("GET", "/model")[2])
    assert known["class_names"] == ["red", "green", "blue"]


def test_requests_are_counted_for_prometheus():
    with Running(create_app(model_of())) as server:
        for body in (png(), png("blue"), b"no image"):
            server.post(body)
        text = server.ask("GET", "/metrics")[2].decode()
    assert 'finetune_requests_total{status="200"} 2' in text
    assert 'finetune_requests_total{status="400"} 1' in text
    assert "finetune_request_seconds_count 3" in text
    assert "finetune_batch_images_sum 2" in text


@pytest.mark.parametrize(
    ("task", "names", "label", "probabilities"),
    [
        ("multilabel", ("red", "green", "blue"), ["red"], {"red": 1.0, "green": 0.0, "blue": 0.0}),
        ("regression", (), [1.0, 0.0, 0.0], {}),
    ],
)
def test_labels_and_values_are_answered_as_predict_gives_them(task, names, label, probabilities):
    with Running(create_app(model_of(task, names))) as server:
        assert server.post(png()) == (200, {"label": label, "probabilities": probabilities})


class Slow(FineTunedModel):
    """A model that takes its time, and notes how many images it looks at together."""

    def observe(self, pixels, *, places=True):
        self.__dict__.setdefault("sizes", []).append(len(pixels))
        time.sleep(0.2)
        return super().observe(pixels, places=places)


def slow_model():
    card = ModelCard("multiclass", ("red", "green", "blue"), (8, 8), "squash")
    return Slow(build_colour_model(), card)


def test_images_that_come_together_are_looked_at_together_and_each_has_its_own_answer():
    model = slow_model()
    colours = ["red", "lime", "blue"] * 4
    with Running(create_app(model)) as server, ThreadPoolExecutor(12) as clients:
        answers = list(clients.map(lambda colour: server.post(png(colour)), colours))
    named = {"red": "red", "lime": "green", "blue": "blue"}
    assert [answer["label"] for _, answer in answers] == [named[colour] for colour in colours]
    # The first is looked at before the server is there.
    assert model.sizes[0] == 1 and sum(model.sizes) == 13 and len(model.sizes) < 8


def test_who_comes_to_a_full_queue_is_told_to_come_again():
    limits = Limits(queue=1, batch=1, decoders=8)
    with (
        Running(create_app(slow_model(), limits=limits)) as server,
        ThreadPoolExecutor(8) as clients,
    ):
        answers = list(clients.map(lambda _: server.ask("POST", "/predict", png()), range(8)))
    statuses = [status for status, _, _ in answers]
    assert {*statuses} == {200, 503}
    refused = next(answer for answer in answers if answer[0] == 503)
    assert refused[1]["retry-after"] == "1"
    assert json.loads(refused[2]) == {"error": "1 images wait already: come again."}


def test_what_is_under_way_when_it_is_stopped_is_answered():
    with Running(create_app(slow_model())) as server, ThreadPoolExecutor(1) as clients:
        answer = clients.submit(server.post, png())
        time.sleep(0.1)
        server.server.should_exit = True
        assert answer.result()[0] == 200
    with pytest.raises(ConnectionError):
        server.ask("GET", "/healthz")


def test_a_model_that_fails_concerns_those_who_asked_and_no_others():
    class Failing(FineTunedModel):
        def observe(self, pixels, *, places=True):
            if pixels.mean() > 200:
                raise RuntimeError("too bright")
            return super().observe(pixels, places=places)

    card = ModelCard("multiclass", ("red", "green", "blue"), (8, 8), "squash")
    with Running(create_app(Failing(build_colour_model(), card))) as server:
        assert server.ask("POST", "/predict", png("white"))[0] == 500
        assert server.post(png())[0] == 200


def test_a_model_that_knows_its_doubt_tells_it():
    card = ModelCard("multiclass", ("red", "green", "blue"), (8, 8), "squash", sets=SETS)
    with Running(create_app(FineTunedModel(build_colour_model(), card))) as server:
        _, clear = server.post(png())
        _, mixed = server.post(png((255, 200, 0)))
        about = json.loads(server.ask("GET", "/model")[2])
    assert about["doubt"] is True
    assert clear["doubt"] == {"said": "red (0.58)", "set": ["red"], "novel": None, "distance": None}
    assert (mixed["label"], mixed["doubt"]["said"]) == ("red", "not sure: red or green")
