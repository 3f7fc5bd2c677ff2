"""Which path means which route: one segment for each parameter, and nothing but the routes that there are."""

import pytest

from serving.errors import MethodNotAllowed, NotFound
from serving.protocols.route import HttpRequest, Paths, Reply, Route

TEMPLATES = (
    "/models/stats",
    "/models/{model}",
    "/models/{model}/infer",
    "/models/{model}/versions/{version}",
    "/models/{model}/versions/{version}/infer",
    "/predict/{model}",
    "/predict/{model}/{part}",
    "/predict/{model}/last",
)


def answer(_: HttpRequest) -> Reply:
    """Answer."""
    return Reply(200, b"")


PATHS = Paths(Route("POST", template, answer) for template in TEMPLATES)


@pytest.mark.parametrize(
    ("path", "template", "parameters"),
    [
        ("/models/stats", "/models/stats", {}),
        ("/models/m", "/models/{model}", {"model": "m"}),
        ("/models/infer", "/models/{model}", {"model": "infer"}),
        ("/models/stats/infer", "/models/{model}/infer", {"model": "stats"}),
        ("/models/infer/infer", "/models/{model}/infer", {"model": "infer"}),
        ("/models/m/versions/3", "/models/{model}/versions/{version}", {"model": "m", "version": "3"}),
        ("/models/m/versions/infer", "/models/{model}/versions/{version}", {"model": "m", "version": "infer"}),
        ("/models/m/versions/3/infer", "/models/{model}/versions/{version}/infer", {"model": "m", "version": "3"}),
        ("/models/a\nb", "/models/{model}", {"model": "a\nb"}),
        ("/predict/m/n", "/predict/{model}/{part}", {"model": "m", "part": "n"}),
        ("/predict/m/last", "/predict/{model}/last", {"model": "m"}),
    ],
)
def test_a_path_means_one_route(path: str, template: str, parameters: dict[str, str]) -> None:
    route, found = PATHS.match("POST", path)
    assert (route.path, dict(found)) == (template, parameters)


@pytest.mark.parametrize(
    "path",
    ["", "/", "/models", "/models/", "/models//infer", "/models/m/infer/", "/models/m/other", "//models/m", "/MODELS/m"],
)
def test_another_path_means_none(path: str) -> None:
    with pytest.raises(NotFound):
        PATHS.match("POST", path)


def test_another_method_is_told_which_there_are() -> None:
    with pytest.raises(MethodNotAllowed, match="POST"):
        PATHS.match("GET", "/models/m/infer")
