import importlib.metadata
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.repository import Repository
from models.tensors import DTYPES
from serving.errors import ModelNotReady
from serving.model_config import ModelConfig
from serving.protocols.readiness import Readiness
from serving.protocols.v2 import EXTENSIONS
from serving.protocols.v2_describe import config_json
from tests import toys
from tests.serving import graphs
from tests.serving.desk import Desk, body_of, infer_body

INFER = "/v2/models/toy/infer"


def test_the_server_says_who_it_is(desk: Desk) -> None:
    expected = {"name": "sameway", "version": importlib.metadata.version("sameway"), "extensions": list(EXTENSIONS)}
    for path in ("/v2", "/v2/"):
        reply = desk.ask("GET", path)
        assert (reply.status, body_of(reply)) == (200, expected)


def test_health_is_live_and_ready(desk: Desk) -> None:
    assert body_of(desk.ask("GET", "/v2/health/live")) == {"live": True}
    assert body_of(desk.ask("GET", "/v2/health/ready")) == {"ready": True}


def test_while_loading_or_draining_the_server_is_live_but_not_ready(toy_repository: Path) -> None:
    desk = Desk(toy_repository, load=False)
    assert desk.ask("GET", "/v2/health/live").status == 200
    reply = desk.ask("GET", "/v2/health/ready")
    assert (reply.status, dict(reply.headers)["retry-after"]) == (503, "1")
    assert desk.ask("POST", INFER, infer_body(toys.images(1))).status == 503
    desk.engine.load_all()
    assert desk.ask("GET", "/v2/health/ready").status == 200
    desk.engine.drain()
    assert desk.ask("GET", "/v2/health/ready").status == 503
    assert desk.ask("GET", "/v2/models/toy/ready").status == 503
    assert desk.ask("POST", INFER, infer_body(toys.images(1))).status == 200
    desk.close()


def test_ready_for_all_models_is_not_ready_before_each_has_been_served_and_stays_so(
    toy_repository: Path, tmp_path: Path
) -> None:
    root = tmp_path / "models"
    shutil.copytree(toy_repository, root)
    broken = root / "broken"
    (broken / "1").mkdir(parents=True)
    (broken / "1" / "model.onnx").write_bytes(b"no graph")
    desk = Desk(root)
    ready = Readiness(desk.engine, every_model=True)
    assert Readiness(desk.engine, every_model=False)()
    assert not ready()
    assert ready.missing == ("broken",)
    shutil.copytree(root / "toy" / "1", broken / "2", ignore=shutil.ignore_patterns("manifest.json", "golden.npz"))
    desk.engine.management.load("broken").result(30)
    assert ready()
    desk.engine.management.unload("broken").result(30)
    assert ready(), "what fails later takes no server out of service"
    shutil.rmtree(root / "toy" / "1")
    with pytest.raises(ModelNotReady):
        desk.engine.management.load("toy").result(30)
    assert ready()
    assert len(ready.missing) == 0
    desk.engine.drain()
    assert not ready()
    desk.close()


def test_a_model_says_what_it_takes_and_gives_with_its_batch_axis(desk: Desk) -> None:
    expected = {
        "name": "toy",
        "versions": ["1"],
        "platform": "onnx_onnxv1",
        "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 4, 4]}],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
            {"name": "class", "datatype": "INT64", "shape": [-1]},
        ],
    }
    for path in ("/v2/models/toy", "/v2/models/toy/versions/1"):
        assert body_of(desk.ask("GET", path)) == expected
    assert body_of(desk.ask("GET", "/v2/models/toy/ready")) == {"name": "toy", "ready": True}


@pytest.mark.parametrize("action", ["", "/ready", "/infer"])
@pytest.mark.parametrize("version", ["2", "0", "-1", "1.0", "latest", "1e0", "\uff11", "9" * 40, "%31"])
def test_a_version_that_is_not_served_or_no_number_is_404(desk: Desk, version: str, action: str) -> None:
    method = "POST" if action == "/infer" else "GET"
    reply = desk.ask(method, f"/v2/models/toy/versions/{version}{action}", infer_body(toys.images(1)))
    assert (reply.status, body_of(reply)["code"], body_of(reply)["field"]) == (404, "model_not_found", "version")


@pytest.mark.parametrize("path", ["/v2/models/{}", "/v2/models/{}/ready", "/v2/models/{}/versions/1"])
@pytest.mark.parametrize("model", ["bee", "Toy", "..", "toy%00", "toy ", "'; DROP", "a" * 5_000])
def test_an_unknown_model_is_404_and_its_name_comes_back_short(desk: Desk, model: str, path: str) -> None:
    reply = desk.ask("GET", path.format(model))
    assert (reply.status, body_of(reply)["code"]) == (404, "model_not_found")
    assert len(reply.body) < 500


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_an_answer_is_the_reference_s_in_the_protocol_s_words(desk: Desk, count: int) -> None:
    pixels = toys.images(count)
    reply = desk.ask("POST", INFER, infer_body(pixels, id="abc"))
    assert (reply.status, reply.media_type) == (200, "application/json")
    body = body_of(reply)
    expected = toys.reference(pixels)
    assert {key: body[key] for key in ("model_name", "model_version", "id")} == {
        "model_name": "toy",
        "model_version": "1",
        "id": "abc",
    }
    assert [(output["name"], output["shape"]) for output in body["outputs"]] == [
        ("probabilities", [count, 3]),
        ("class", [count]),
    ]
    found = np.array(body["outputs"][0]["data"], np.float32).reshape(count, 3)
    np.testing.assert_allclose(found, expected["probabilities"], atol=1e-5)
    assert body["outputs"][1]["data"] == expected["class"].tolist()


def test_the_answer_names_the_version_s_digest_and_where_the_time_went(desk: Desk, toy_repository: Path) -> None:
    headers = dict(desk.ask("POST", INFER, infer_body(toys.images(1))).headers)
    assert headers["sameway-version"] == f"toy/1 sha256:{Repository(toy_repository).open('toy', 1).digest}"
    stages = dict(re.findall(r"(\w+);dur=([0-9.]+)(?:, |$)", headers["server-timing"]))
    assert list(stages) == ["decode", "queue", "batch", "compute", "encode", "total"]
    spent = {stage: float(milliseconds) for stage, milliseconds in stages.items()}
    assert sum(spent.values()) - spent["total"] <= spent["total"] + 0.01


@pytest.mark.parametrize("wanted", [["class"], ["class", "probabilities"], ["probabilities", "class"]])
def test_only_the_outputs_asked_for_come_back_in_that_order(desk: Desk, wanted: list[str]) -> None:
    reply = desk.ask("POST", INFER, infer_body(toys.images(2), outputs=[{"name": name} for name in wanted]))
    assert [output["name"] for output in body_of(reply)["outputs"]] == wanted


def test_an_output_that_the_model_lacks_is_refused(desk: Desk) -> None:
    reply = desk.ask("POST", INFER, infer_body(toys.images(1), outputs=[{"name": "logits"}]))
    assert (reply.status, body_of(reply)["field"], body_of(reply)["found"]) == (400, "outputs[0].name", '"logits"')


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (infer_body(toys.images(0)), "image.shape"),
        (infer_body(toys.images(9)), "image.shape"),
        (infer_body(toys.images(1)[:, :3]), "image.shape"),
        (infer_body(toys.images(1)[0]), "image.shape"),
        (infer_body(toys.images(1)).replace(b"UINT8", b"INT64"), "image.datatype"),
        (infer_body(toys.images(1)).replace(b'"image"', b'"picture"'), "inputs[0].name"),
    ],
    ids=["no rows", "too many rows", "shape", "no batch axis", "datatype", "name"],
)
def test_tensors_that_do_not_fit_the_signature_are_refused(desk: Desk, body: bytes, field: str) -> None:
    reply = desk.ask("POST", INFER, body)
    assert (reply.status, body_of(reply)["code"], body_of(reply)["field"]) == (400, "invalid_input", field)
    assert body_of(reply)["expected"]
    assert body_of(reply)["found"]


def test_an_input_that_the_model_does_not_take_is_refused(desk: Desk) -> None:
    image = infer_body(toys.images(1))[len(b'{"inputs": [') : -len(b"]}")]
    body = b'{"inputs": [' + image + b"," + image.replace(b'"image"', b'"more"') + b"]}"
    reply = desk.ask("POST", INFER, body)
    assert (reply.status, body_of(reply)["field"]) == (400, "inputs[1].name")


@pytest.mark.parametrize(
    ("body", "names"),
    [(b"", {"broken", "toy"}), (b" \n", {"broken", "toy"}), (b"{}", {"broken", "toy"}), (b'{"ready":true}', {"toy"})],
)
def test_the_index_lists_every_model_with_its_state(tmp_path: Path, body: bytes, names: set[str]) -> None:
    toys.publish(tmp_path)
    (toys.publish(tmp_path, "broken").path / "model.onnx").unlink()
    desk = Desk(tmp_path)
    lines = {line["name"]: line for line in body_of(desk.ask("POST", "/v2/repository/index", body))}
    assert lines.keys() == names
    assert lines["toy"] == {"name": "toy", "version": "1", "state": "READY", "reason": "", "verified": True}
    if "broken" in names:
        assert (lines["broken"]["state"], "model.onnx" in lines["broken"]["reason"]) == ("UNAVAILABLE", True)
    desk.close()


@pytest.mark.parametrize(
    "body", [b"[]", b"true", b"null", b"{", b'{"ready":1}', b'{"ready":null}', b'{"ready":' + b"[" * 600 + b"]" * 600 + b"}"]
)
def test_an_index_request_that_makes_no_sense_is_refused(desk: Desk, body: bytes) -> None:
    reply = desk.ask("POST", "/v2/repository/index", body)
    assert (reply.status, body_of(reply)["code"]) == (400, "malformed_request")


@pytest.fixture
def more(tmp_path: Path) -> Iterator[Desk]:
    graphs.publish_identity(tmp_path)
    graphs.publish_lookup(tmp_path)
    graphs.publish_square_root(tmp_path)
    desk = Desk(tmp_path)
    yield desk
    desk.close()


@pytest.mark.parametrize("datatype", sorted(graphs.ELEMENTS))
def test_every_datatype_comes_back_as_it_was_sent(more: Desk, datatype: str) -> None:
    inputs = [
        {"name": f"in_{name}", "datatype": name, "shape": [2, 3], "data": np.ones(6, DTYPES[name]).tolist()}
        for name in graphs.ELEMENTS
    ]
    body = body_of(more.ask("POST", "/v2/models/identity/infer", infer_body(toys.images(1), inputs=inputs)))
    found = next(output for output in body["outputs"] if output["name"] == f"out_{datatype}")
    sent = next(field for field in inputs if field["datatype"] == datatype)
    assert (found["datatype"], found["shape"], found["data"]) == (datatype, [2, 3], sent["data"])


def test_what_makes_the_runtime_raise_is_500_without_a_word_of_the_runtime(more: Desk) -> None:
    place = {"name": "place", "datatype": "INT64", "shape": [1], "data": [99]}
    reply = more.ask("POST", "/v2/models/lookup/infer", infer_body(toys.images(1), inputs=[place]))
    assert (reply.status, body_of(reply)["code"]) == (500, "inference_failed")
    assert b"Gather" not in reply.body
    good = more.ask("POST", "/v2/models/lookup/infer", infer_body(toys.images(1), inputs=[{**place, "data": [2]}]))
    assert body_of(good)["outputs"][0]["data"] == [12]


@pytest.mark.parametrize(("number", "root"), [(16, [4]), (-1, [None])])
def test_a_model_without_a_batch_axis_answers_and_not_a_number_is_null(more: Desk, number: int, root: object) -> None:
    field = {"name": "x", "datatype": "FP32", "shape": [], "data": [number]}
    body = body_of(more.ask("POST", "/v2/models/root/infer", infer_body(toys.images(1), inputs=[field])))
    assert body["outputs"] == [{"name": "root", "datatype": "FP32", "shape": [], "data": root}]


def test_bad_neighbours_spoil_no_batch(tmp_path: Path) -> None:
    toys.publish(tmp_path)
    (tmp_path / "toy" / "config.toml").write_text("queue_delay_seconds = 0.2\nqueue_rows = 1000")
    desk = Desk(tmp_path)
    bad = [
        infer_body(toys.images(1)[:, :2]),
        infer_body(toys.images(2)).replace(b"[2, 4, 4]", b"[1, 4, 4]"),
        infer_body(toys.images(1)).replace(b"[1, 4, 4]", b"[2, 4, 4]"),
        infer_body(toys.images(1)).replace(b"UINT8", b"INT8"),
        infer_body(toys.images(1)).replace(b'"data": [', b'"data": [null, '),
        b"not JSON",
    ]
    pixels = toys.images(40)
    waiting = []
    for row in range(40):
        assert desk.ask("POST", INFER, bad[row % len(bad)]).status == 400
        waiting.append(desk.begin("POST", INFER, infer_body(pixels[row : row + 1])))
    expected = toys.reference(pixels)["probabilities"]
    for row, answer in enumerate(waiting):
        found = body_of(desk.end(answer))["outputs"][0]["data"]
        np.testing.assert_allclose(found, expected[row], atol=1e-5)
    desk.close()
    assert desk.value("sameway_batch_rows_sum", model="toy", version="1") == 40


def test_the_configuration_says_where_instances_compute(desk: Desk) -> None:
    metadata = desk.engine.metadata("toy")
    config = ModelConfig(instances=3, device=("cuda:0", "cuda:1"))
    assert config_json(metadata, config)["instance_group"] == [
        {"name": "toy_0", "kind": "KIND_GPU", "count": 2, "gpus": [0]},
        {"name": "toy_1", "kind": "KIND_GPU", "count": 1, "gpus": [1]},
    ]
    assert config_json(metadata, ModelConfig())["instance_group"] == [{"name": "toy_0", "kind": "KIND_CPU", "count": 1}]
