"""Flask as a front end: a real Flask application that hands every path to the project's own routes, and blocks.

`sameway serve --frontend flask` runs it on the same HTTP edge as FastAPI (see wsgi.py), where it gets the requests that
wait: for a model, or for one to be loaded. The edge answers the others itself, by the same routes. It also runs under any WSGI
server, `gunicorn 'serving.frontends.flask_app:create_app()'`: with right answers, but with that server's defences only.
"""

import atexit
import threading
import time

import flask
from werkzeug.exceptions import HTTPException

from serving.errors import Cancelled, InternalError
from serving.frontends.wsgi import LEAVING, REQUEST, Leaving
from serving.protocols.dispatch import Dispatcher, Waiting
from serving.protocols.route import HttpRequest, Reply, error_reply

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


def create_app(dispatcher: Dispatcher | None = None) -> flask.Flask:
    """Return a Flask application that serves the dispatcher's routes.

    Without one, as under gunicorn, the engine is made here from the settings in the environment, and its models are
    loaded before this returns.
    """
    if dispatcher is None:
        dispatcher = _dispatcher_from_environment()
    app = flask.Flask("sameway", static_folder=None)
    app.url_map.merge_slashes = False
    routes = dispatcher

    def view(*_: object, **__: object) -> flask.Response:
        return _respond(_answer(routes, _request()))

    def failed(error: Exception) -> flask.Response:
        app.logger.error("event=internal_error path=%r", flask.request.path, exc_info=error)
        return _respond(error_reply(InternalError("an internal error; the server's log has its cause")))

    app.add_url_rule("/", "root", view, provide_automatic_options=False, methods=_METHODS)
    app.add_url_rule("/<path:path>", "any", view, provide_automatic_options=False, methods=_METHODS)
    # What Flask's own routing refuses (a path such as //, a method nobody knows) is for our routes to refuse.
    app.register_error_handler(HTTPException, view)
    app.register_error_handler(Exception, failed)
    return app


def _request() -> HttpRequest:
    """Return the request as the edge has read it or, under another server, as Flask has."""
    read: HttpRequest | None = flask.request.environ.get(REQUEST)
    if read is not None:
        return read
    headers = {name.lower(): value for name, value in flask.request.headers.items()}
    body, address = flask.request.get_data(), flask.request.remote_addr
    return HttpRequest(flask.request.method, flask.request.path, headers, body, time.monotonic(), address)


def _answer(dispatcher: Dispatcher, request: HttpRequest) -> Reply:
    """Return the answer, waiting for it in this thread."""
    answer = dispatcher.handle(request)
    if not isinstance(answer, Waiting):
        return answer
    wake = threading.Event()
    answer.future.add_done_callback(lambda _: wake.set())
    leaving: Leaving | None = flask.request.environ.get(LEAVING)
    if leaving is not None:
        leaving.then(wake.set)
    try:
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
    response = flask.Response(reply.body, status=reply.status, content_type=reply.media_type)
    for name, value in reply.headers:
        response.headers[name] = value
    return response


def _dispatcher_from_environment() -> Dispatcher:
    from serving.process import wired_alone  # the one place that knows concrete classes; it knows this front end too
    from serving.settings import Settings

    wired = wired_alone(Settings())
    wired.engine.load_all()
    for observer in wired.observers:
        atexit.register(observer.close)  # nobody tells an application under gunicorn that it stops
    return wired.dispatcher
