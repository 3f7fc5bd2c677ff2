"""Flask as a front end: a real Flask application that hands every path to the project's own routes, and blocks.

`sameway serve --frontend flask` runs it on the same HTTP edge as FastAPI (see wsgi.py), where it gets the requests that
wait: for a model, or for one to be loaded. The edge answers the others itself, by the same routes. It also runs under any
WSGI server, `gunicorn 'serving.frontends.flask_app:create_app()'`: with right answers, but with that server's defences
only.
"""

import atexit
import contextlib
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import flask
from flask.sessions import NullSession, SessionInterface, SessionMixin
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
from werkzeug.routing import MapAdapter

from serving.errors import BodyTooLarge, Cancelled, InternalError
from serving.frontends.wsgi import AT_ONCE, LEAVING, REQUEST, Leaving
from serving.limits import Limits
from serving.protocols.dispatch import Dispatcher
from serving.protocols.route import HttpRequest, Reply, error_reply
from serving.protocols.waiting import Computed, Waiting

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


def create_app(dispatcher: Dispatcher | None = None) -> flask.Flask:
    """Return a Flask application that serves the dispatcher's routes.

    Without one, as under gunicorn, the engine is made here from the settings in the environment, and its models are
    loaded before this returns.
    """
    app = _App("sameway", static_folder=None)
    app.session_interface = _NoSessions()
    if dispatcher is None:
        dispatcher, limits = _from_environment()
        app.config["MAX_CONTENT_LENGTH"] = limits.body_bytes
    app.url_map.merge_slashes = False
    routes = dispatcher
    here = threading.local()

    def view(*_: object, **__: object) -> flask.Response:
        if AT_ONCE not in flask.request.environ and not hasattr(here, "lends"):
            # This thread waits for the answer anyway; where it is cheap to compute, it may as well do so itself.
            routes.lend(lambda run: run())
            here.lends = True
        request = _request(routes)
        return _respond(request if isinstance(request, Reply) else _answer(routes, request))

    def failed(error: Exception) -> flask.Response:
        app.logger.error("event=internal_error path=%r", flask.request.path, exc_info=error)
        return _respond(error_reply(InternalError("an internal error; the server's log has its cause")))

    app.add_url_rule("/", "root", view, provide_automatic_options=False, methods=_METHODS)
    app.add_url_rule("/<path:path>", "any", view, provide_automatic_options=False, methods=_METHODS)
    # What Flask's own routing refuses (a path such as //, a method nobody knows) is for our routes to refuse.
    app.register_error_handler(HTTPException, view)
    app.register_error_handler(Exception, failed)
    return app


def _request(dispatcher: Dispatcher) -> HttpRequest | Reply:
    """Return the request as the edge has read it or, under another server, as Flask has; or the reply that refuses it."""
    read: HttpRequest | None = flask.request.environ.get(REQUEST)
    if read is not None:
        return read
    headers = {name.lower(): value for name, value in flask.request.headers.items()}
    head = HttpRequest(flask.request.method, flask.request.path, headers, b"", time.monotonic(), flask.request.remote_addr)
    if (refusal := dispatcher.turned_away(head)) is not None:
        return refusal
    try:
        body = flask.request.get_data()
    except RequestEntityTooLarge:
        limit = flask.request.max_content_length
        return dispatcher.refuse(head, BodyTooLarge.at("body", expected=f"at most {limit} bytes", found="more"))
    return replace(head, body=body, received=time.monotonic())


def _answer(dispatcher: Dispatcher, request: HttpRequest) -> Reply:
    """Return the answer: the one that is there, where the edge has had it computed, else waiting for it in this thread."""
    computed: Computed | None = flask.request.environ.pop(AT_ONCE, None)
    if computed is not None:
        return computed.reply()
    (answer,) = dispatcher.handle_several([request])
    if not isinstance(answer, Waiting):
        return answer
    if answer.future.done():
        return answer.reply()
    wake = threading.Event()
    answer.future.add_done_callback(lambda _: wake.set())
    leaving: Leaving | None = flask.request.environ.get(LEAVING)
    if leaving is not None:
        leaving.then(wake.set)
    try:
        with contextlib.nullcontext() if leaving is None else leaving.waiting():
            wake.wait(max(0.0, answer.deadline - time.monotonic()))
    except BaseException:
        answer.abandoned()  # else its place, and the count of requests in flight, would be lost for ever
        raise
    if answer.future.done():
        return answer.reply()
    if leaving is not None and leaving.left:
        answer.abandoned()
        return error_reply(Cancelled("the client left"))  # which nobody reads
    return answer.interrupted() if leaving is not None and leaving.interrupted else answer.expired()


def _respond(reply: Reply) -> flask.Response:
    headers = [("content-type", reply.media_type), *reply.headers]
    return _Whole(reply.body, status=reply.status, headers=headers)


class _App(flask.Flask):
    """An application that is found by paths alone: no route of it depends on a host's name, or is asked for its own URL."""

    def create_url_adapter(self, request: flask.Request | None) -> MapAdapter | None:
        """Return what matches a request's path. Flask's own way works out which server was meant, for each request."""
        if request is None:
            return super().create_url_adapter(request)
        return self.url_map.bind("", path_info=request.path, default_method=request.method)


class _NoSessions(SessionInterface):
    """No client has a session here: nothing is read from its cookies, and none is written."""

    def open_session(self, app: flask.Flask, request: flask.Request) -> NullSession:
        """Return a session that says so to whoever writes into it."""
        return NullSession()

    def save_session(self, app: flask.Flask, session: SessionMixin, response: flask.Response) -> None:
        """Save nothing."""


class _Whole(flask.Response):
    """A response that is complete as it is."""

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer with the body as it is, unless somebody wants to be told when it was sent."""
        if self._on_close or not isinstance(self.response, list):
            return super().__call__(environ, start_response)
        start_response(self.status, self.get_wsgi_headers(environ).to_wsgi_list())
        return () if environ["REQUEST_METHOD"] == "HEAD" else self.response

    def get_wsgi_headers(self, environ: "WSGIEnvironment") -> Headers:
        """Return the headers. Flask's own way looks for what the routes have never left out, in a copy of them."""
        if "content-length" not in self.headers:
            self.headers["content-length"] = str(self.calculate_content_length() or 0)
        return self.headers


def _from_environment() -> tuple[Dispatcher, Limits]:
    from serving.process import wired_alone  # the one place that knows concrete classes; it knows this front end too
    from serving.settings import Settings

    wired = wired_alone(Settings())
    wired.engine.load_all()
    for observer in wired.observers:
        atexit.register(observer.close)  # nobody tells an application under gunicorn that it stops
    return wired.dispatcher, wired.limits
