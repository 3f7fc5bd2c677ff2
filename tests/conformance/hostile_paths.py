"""Methods and paths: unknown ones, foreign ones, and others' ways to write those that are known."""

from tests.conformance.cases import Case, body, dump

_BODY = dump(body())


def _get(path: str, status: int, code: str | None = None, *, method: str = "GET") -> Case:
    return Case(f"{method} {path:.60}", path, b"", status, code, method=method)


KNOWN: tuple[Case, ...] = tuple(
    _get(path, 200)
    for path in (
        "/v2", "/v2/", "/v2?a=1", "/v2/health/live", "/v2/health/ready", "/v2/models", "/v2/models/stats",
        "/v2/models/toy", "/v2/models/toy/ready", "/v2/models/toy/config", "/v2/models/toy/stats",
        "/v2/models/toy/versions/1", "/v2/models/toy/versions/1/ready", "/v2/models/toy/versions/1/config",
        "/v2/models/toy/versions/1/stats", "/openapi.json", "/metrics",
        # A path is decoded once, whatever in it was encoded.
        "/v2/models/t%6fy", "/%76%32", "/v2%2Fmodels%2Ftoy",
        # The absolute form, as clients of proxies send it.
        "http://localhost/v2/models/toy",
    )
)  # fmt: skip

UNKNOWN: tuple[Case, ...] = tuple(
    _get(path, 404)
    for path in (
        "/", "//", "/v1/models/toy", "/v2//", "//v2", "/v2/models/", "/v2/models/toy/", "/v2/models//toy",
        "/v2/models/toy//ready",
        "/v2/models/toy/ready/", "/v2/health/", "/v2/health/live/", "/V2", "/v2/models/TOY", "/v2/models/nobody",
        "/v2/models/toy/versions/2", "/v2/models/toy/versions/0", "/v2/models/toy/versions/-1",
        "/v2/models/toy/versions/one",
        "/v2/models/toy/versions/1.0", "/v2/models/toy/versions/1e0", "/v2/models/toy/versions/%EF%BC%91",
        "/v2/models/toy/versions/99999999999999999999", "/v2/models/toy/versions/" + "9" * 5000, "/v2/models/toy/versions/",
        "/v2/models/toy/versions", "/v2/models/" + "m" * 5000, "/v2/models/..", "/v2/models/../..", "/v2/models/%2e%2e",
        "/v2/models/..%2f..%2fetc%2fpasswd", "/v2/models/%2Fetc%2Fpasswd", "/v2/models/toy%00",
        "/v2/models/toy%0d%0aX-Evil:1",
        "/v2/models/toy%", "/v2/models/toy%zz", "/v2/models/%ff%fe", "/v2/models/%C3%BC", "/v2/models/%25%32%66",
        "/v2/models/to%256fy",
        "/v2/models/__class__", "/v2/models/{model}", "/v2/models/$%7Bjndi:ldap://x%7D", "/v2/models/<script>",
        "/static/x", "/docs",
        "/redoc", "/favicon.ico", "/.env", "/console/../v2", "/v2/../v2", "/./v2", "/v2/models/toy;a=1", "/v2/models/toy%20",
        "/v2/models/toy/infer/", "/v2/repository", "/v2/repository/models", "/predict", "/predict/", "/metrics/",
        "/openapi.json/",
    )
)  # fmt: skip

#: Methods that a path does not have; HEAD is not among them where GET is there.
METHODS: tuple[Case, ...] = (
    *(
        _get(path, 405, "method_not_allowed", method=method)
        for path in ("/v2", "/v2/", "/v2/models/toy", "/v2/health/live", "/metrics", "/openapi.json")
        for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "PURGE", "M-SEARCH")
    ),
    *(
        _get(path, 405, "method_not_allowed", method=method)
        for path in ("/v2/models/toy/infer", "/v2/models/nobody/infer", "/v2/repository/index", "/predict/toy")
        for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "LOCK")
    ),
    *(
        _get(path, 404, "not_found", method=method)
        for path in ("/", "//", "/nothing")
        for method in ("POST", "OPTIONS", "PURGE")
    ),
)

MODELS: tuple[Case, ...] = (
    Case("a model that is not there", "/v2/models/nobody/infer", _BODY, 404, "model_not_found"),
    Case("a version that is not there", "/v2/models/identity_fp32/versions/2/infer", _BODY, 404, "model_not_found"),
    Case("a version that is no number", "/v2/models/identity_fp32/versions/v1/infer", _BODY, 404, "model_not_found"),
    Case("a version that is there", "/v2/models/identity_fp32/versions/1/infer", _BODY, 200),
    Case("a model that could not be loaded", "/v2/models/absent/infer", _BODY, 503, "model_not_ready"),
    Case("is it ready", "/v2/models/absent/ready", b"", 503, "model_not_ready", method="GET"),
    Case("an index of all", "/v2/repository/index", b"", 200),
    Case("an index of nothing but blanks", "/v2/repository/index", b" \n", 200),
    Case("an index of the ready", "/v2/repository/index", b'{"ready": true}', 200),
    Case("an index of a text", "/v2/repository/index", b'{"ready": "true"}', 400, "malformed_request", "ready"),
    Case("an index of a list", "/v2/repository/index", b"[]", 400, "malformed_request", "body"),
    Case("an index of no JSON", "/v2/repository/index", b"{", 400, "malformed_request", "body"),
    Case("loading for strangers", "/v2/repository/models/toy/load", b"", 403, "forbidden"),
    Case("loading nobody", "/v2/repository/models/nobody/load", b"", 403, "forbidden"),
    Case("unloading for strangers", "/v2/repository/models/toy/unload", b"", 403, "forbidden"),
    Case("loading for strangers, of no JSON", "/v2/repository/models/toy/load", b"{", 403, "forbidden"),
    Case("an image of nothing", "/predict/toy", b"", 400, "invalid_input", "image"),
    Case("an image that is none", "/predict/toy", b"<svg/>", 400, "invalid_input", "image"),
    Case("an image's first bytes", "/predict/toy", b"\x89PNG\r\n\x1a\n", 400, "invalid_input", "image"),
    Case("an image for a model of tensors", "/predict/identity_fp32", b"", 400, "unsupported"),
    Case("an image for nobody", "/predict/nobody", b"", 404, "model_not_found"),
)

CASES: tuple[Case, ...] = (*KNOWN, *UNKNOWN, *METHODS, *MODELS)
