"""/openapi.json describes the server that offers it, and its examples can be sent as they are."""

import json
from typing import Any

import pytest

from models.tensors import DTYPES
from tests.conformance.raw import ask
from tests.conformance.samples import BYTES_ONLY
from tests.conformance.servers import Server

# Any: a JSON document.
_INFER = "/v2/models/{model}/infer"


@pytest.fixture
def document(server: Server) -> Any:
    """The document."""
    answer = ask(server, "GET", "/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    return answer.json()


def test_every_route_is_there(document: Any) -> None:
    model = "/v2/models/{model}"
    paths = {
        *(
            "/v2",
            "/v2/",
            "/v2/health/live",
            "/v2/health/ready",
            "/v2/models",
            "/v2/models/stats",
            "/metrics",
            "/predict/{model}",
        ),
        *("/v2/repository/index", "/v2/repository/models/{model}/load", "/v2/repository/models/{model}/unload"),
        *(
            f"{base}{rest}"
            for base in (model, f"{model}/versions/{{version}}")
            for rest in ("", "/ready", "/config", "/stats")
        ),
        *(f"{base}/infer" for base in (model, f"{model}/versions/{{version}}")),
    }
    assert paths <= document["paths"].keys()
    assert document["openapi"].startswith("3.1")
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            assert {"200", "4XX", "5XX"} <= operation["responses"].keys()


def test_every_path_that_is_described_answers(zoo_server: Server, document: Any) -> None:
    for path, operations in document["paths"].items():
        target = path.replace("{model}", "toy").replace("{version}", "1")
        for method in operations:
            answer = ask(zoo_server, method.upper(), target, b"" if method == "post" else None)
            assert answer.status not in (404, 405, 500), (method, path)
        refused = ask(zoo_server, "PATCH", target)
        assert refused.status == 405, path


def _examples(document: Any) -> dict[str, Any]:
    content = document["paths"][_INFER]["post"]["requestBody"]["content"]["application/json"]
    examples: dict[str, Any] = content.get("examples", {})
    return examples


def test_examples_can_be_sent(server: Server, document: Any) -> None:
    for model, example in _examples(document).items():
        answer = ask(server, "POST", _INFER.replace("{model}", model), json.dumps(example["value"]).encode())
        assert answer.status == 200, (model, answer.body)


def test_every_model_that_json_can_ask_has_an_example(zoo_server: Server, document: Any) -> None:
    carried = {f"identity_{datatype.lower()}" for datatype in DTYPES if datatype not in BYTES_ONLY}
    assert carried | {"toy", "pair", "state", "many"} <= _examples(document).keys()


def test_schemas_that_are_named_are_there(document: Any) -> None:
    text = json.dumps(document)
    for name in ("Error", "InferRequest", "InferInput", "InferOutput"):
        assert f'"#/components/schemas/{name}"' in text
        assert name in document["components"]["schemas"]
    assert set(document["components"]["schemas"]["InferInput"]["properties"]["datatype"]["enum"]) == set(DTYPES)
