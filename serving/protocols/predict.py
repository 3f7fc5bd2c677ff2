"""/predict/<model>: what a person sends, an image file, and what a person reads, a label with its score.

curl --data-binary @seven.png http://127.0.0.1:8000/predict/digits
curl -F image=@seven.png http://127.0.0.1:8000/predict/digits
"""

import logging
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING

import orjson

from models.content import Content, ContentError, LabelContent, open_image
from serving.access import PREDICT
from serving.engine.base import Engine, ModelMetadata
from serving.errors import InferenceFailed, InvalidInput, Unsupported
from serving.limits import Limits
from serving.protocols.current import on_current
from serving.protocols.decoding import DecodingPool
from serving.protocols.multipart import file_in
from serving.protocols.route import HttpRequest, Pending, Reply, Route, inference_headers
from serving.request import InferRequest, InferResponse

if TYPE_CHECKING:
    from PIL.Image import Image


log = logging.getLogger(__name__)


class Predict:
    """The route that speaks in content instead of tensors."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits
        self._decoding = DecodingPool(threads=2, waiting=limits.waiting_images)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("POST", "/predict/{model}", self.predict, inference=True, body="image", scopes=PREDICT)]

    def predict(self, request: HttpRequest) -> Pending:
        """Run a model on the image in the body: the file itself, or a multipart form with one file."""
        return on_current(self._engine, request.parameters["model"], None, lambda version: self._predict(request, version))

    def _predict(self, request: HttpRequest, metadata: ModelMetadata) -> Pending:
        """Run one version on the image in the body."""
        outputs: dict[str, LabelContent] = {}
        _content(metadata)  # a model without content needs no image to be told so
        file = self._file(request)
        deadline = request.received + metadata.timeout_seconds

        def submit(image: "Image", version: ModelMetadata) -> "Future[InferResponse]":
            content = _content(version)
            outputs[version.digest] = content.output
            try:
                tensors = content.input.decode(image)
            except ContentError as error:
                raise _invalid(error) from error
            return self._engine.submit(InferRequest(version.name, version.version, tensors, deadline=deadline))

        def submit_later(image: "Image") -> "Future[InferResponse]":
            # Another version may have taken the place of this one while the image waited for its thread.
            return on_current(self._engine, metadata.name, None, lambda version: submit(image, version))

        # A small image is decoded here and now; a large one would make everybody else wait for it. Both sizes count: few
        # pixels may come in a file of a million chunks, and then even its header takes seconds.
        if len(file) > self._limits.inline_bytes:
            future = self._decoding.submit(lambda: submit_later(self._open(file)))
        elif (image := self._open(file)).width * image.height > self._limits.inline_pixels:
            future = self._decoding.submit(lambda: submit_later(image))
        else:
            future = submit(image, metadata)
        submitted = time.monotonic()

        def encode(response: InferResponse) -> Reply:
            encoding = time.monotonic()
            body = _answer(outputs[response.digest], response)
            return Reply(200, body, headers=inference_headers(request, response, submitted=submitted, encoding=encoding))

        return Pending(future, deadline, encode)

    def _file(self, request: HttpRequest) -> bytes:
        """Return the file a request carries. Only a form is told by its type: anything else is taken for the file itself."""
        content_type = request.headers.get("content-type", "")
        if content_type.lower().startswith("multipart/form-data"):
            return file_in(content_type, request.body, most_parts=self._limits.form_parts)
        return request.body

    def _open(self, file: bytes) -> "Image":
        """Read an image's header; raise InvalidInput where it is none, or declares more work than it may."""
        # Inside a scan 0xFF is always followed by 0x00 or a restart marker, so the marker that begins a scan is found as is.
        if file.startswith(b"\xff\xd8") and (scans := file.count(b"\xff\xda")) > self._limits.image_scans:
            raise InvalidInput.at("image", expected=f"at most {self._limits.image_scans} scans", found=f"{scans}")
        try:
            return open_image(file, max_pixels=self._limits.image_pixels)
        except ContentError as error:
            raise _invalid(error) from error


def _content(version: ModelMetadata) -> Content:
    """Return what people send to a version and read from it; raise Unsupported where they can do neither."""
    if version.content is None:
        raise Unsupported(f"model {version.name!r} takes tensors only; send them to /v2/models/{version.name}/infer")
    return version.content


def _answer(output: LabelContent, response: InferResponse) -> bytes:
    """Return the JSON a person reads: label, scores, and which version said so."""
    version = {"model": response.model, "version": str(response.version), "digest": f"sha256:{response.digest}"}
    try:
        answer = output.write(response.outputs)
    except ContentError as error:
        log.error("event=no_answer model=%s version=%d reason=%r", response.model, response.version, str(error))
        raise InferenceFailed("the model gave an answer that is none") from error
    return orjson.dumps({**answer, **version}, option=orjson.OPT_SERIALIZE_NUMPY)


def _invalid(error: ContentError) -> InvalidInput:
    return InvalidInput.at(error.field, expected=error.expected, found=error.found)
