"""/predict/<model>: what a person sends, an image file, a text or a record; what a person reads, a label or a value.

curl --data-binary @seven.png http://127.0.0.1:8000/predict/digits
curl -F image=@seven.png http://127.0.0.1:8000/predict/digits
curl -d 'Wie spät ist es?' http://127.0.0.1:8000/predict/language
curl -d '{"carat": 0.7, "cut": "Ideal", …}' http://127.0.0.1:8000/predict/diamonds
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import orjson

from models.content import (
    Content,
    ContentError,
    ImageContent,
    InputContent,
    OutputContent,
    TextContent,
    open_image,
)
from models.tensors import Tensors
from serving.access import PREDICT
from serving.engine.answer import Answer
from serving.engine.base import Engine, ModelMetadata
from serving.errors import InferenceFailed, InvalidInput, Unsupported
from serving.limits import Limits
from serving.protocols.current import on_current
from serving.protocols.decoding import DecodingPool
from serving.protocols.multipart import file_in
from serving.protocols.route import JSON, HttpRequest, Pending, Reply, Route
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
        return [Route("POST", "/predict/{model}", self.predict, inference=True, body="content", scopes=PREDICT)]

    def predict(self, request: HttpRequest) -> Pending:
        """Run a model on an image file, a text or a record: as the body itself, or as the one file of a multipart form."""
        model = request.parameters["model"]
        metadata = self._engine.metadata(model)
        sent = _content(metadata).input
        data = self._data(request, sent)
        deadline = request.received + metadata.timeout_seconds
        #: By the digest of the version that was asked: how its answer is told.
        outputs: dict[str, OutputContent] = {}

        def submit(read: Callable[[InputContent], Tensors]) -> "Answer[InferResponse]":
            # Decoding may have taken a while, and another version may be served since.
            return on_current(self._engine, model, None, lambda version: self._submit(read, version, deadline, outputs))

        future = self._image(data, submit) if isinstance(sent, ImageContent) else submit(lambda content: content.read(data))
        return Pending(future, deadline, lambda response: Reply(200, _answer(outputs[response.digest], response)))

    def _image(
        self, file: bytes, submit: "Callable[[Callable[[InputContent], Tensors]], Answer[InferResponse]]"
    ) -> "Answer[InferResponse]":
        """Decode an image and submit it.

        A small one is decoded here and now; a large one would make everybody else wait for it. Both sizes count: few pixels
        may come in a file of a million chunks, and then even its header takes seconds.
        """
        if len(file) > self._limits.inline_bytes:
            return self._decoding.submit(lambda: submit(partial(_decoded, self._open(file))))
        image = self._open(file)
        if image.width * image.height > self._limits.inline_pixels:
            return self._decoding.submit(lambda: submit(partial(_decoded, image)))
        return submit(partial(_decoded, image))

    def _submit(
        self,
        read: Callable[[InputContent], Tensors],
        metadata: ModelMetadata,
        deadline: float,
        outputs: dict[str, OutputContent],
    ) -> "Answer[InferResponse]":
        """Run one version on what was sent."""
        content = _content(metadata)
        outputs[metadata.digest] = content.output
        try:
            tensors = read(content.input)
        except ContentError as error:
            raise _invalid(error) from error
        return self._engine.submit(InferRequest(metadata.name, metadata.version, tensors, deadline=deadline))

    def _data(self, request: HttpRequest, content: InputContent) -> bytes:
        """Return what a request carries. Only a form is told by its type, and JSON where a text is meant.

        Anything else is taken for the content itself: curl calls every body a form's unless it is told otherwise.
        """
        content_type = request.headers.get("content-type", "").lower()
        if content_type.startswith("multipart/form-data"):
            return file_in(request.headers["content-type"], request.body, most_parts=self._limits.form_parts)
        if isinstance(content, TextContent) and content_type.partition(";")[0].strip() == JSON:
            return _text_in(request.body)
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


def _decoded(image: "Image", content: InputContent) -> Tensors:
    """Return the pixels of an image, as a version's content says."""
    if not isinstance(content, ImageContent):  # another version is served since
        raise ContentError("body", expected="what the model takes now, no image", found="an image")
    return content.decode(image)


def _text_in(body: bytes) -> bytes:
    """Return the text in `{"text": "…"}`; raise InvalidInput."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInput.at("text", expected='JSON like {"text": "…"}', found=f"none: {error}") from None
    if not isinstance(fields, dict) or fields.keys() != {"text"} or not isinstance(fields["text"], str):
        raise InvalidInput.at("text", expected='JSON like {"text": "…"}', found=f"{body[:80]!r}")
    return str(fields["text"]).encode()


def _content(metadata: ModelMetadata) -> Content:
    """Return what a model takes from people; raise Unsupported where it takes tensors only."""
    if metadata.content is None:
        raise Unsupported(f"model {metadata.name!r} takes tensors only; send them to /v2/models/{metadata.name}/infer")
    return metadata.content


def _answer(output: OutputContent, response: InferResponse) -> bytes:
    """Return the JSON a person reads: label and scores, or a value, and which version said so."""
    version = {"model": response.model, "version": str(response.version), "digest": f"sha256:{response.digest}"}
    try:
        answer = output.write(response.outputs)
    except ContentError as error:
        log.error("event=no_answer model=%s version=%d reason=%r", response.model, response.version, str(error))
        raise InferenceFailed("the model gave an answer that is none") from error
    return orjson.dumps({**answer, **version}, option=orjson.OPT_SERIALIZE_NUMPY)


def _invalid(error: ContentError) -> InvalidInput:
    return InvalidInput.at(error.field, expected=error.expected, found=error.found)
