"""Every limit on what a client may send, with its default and its reason.

A limit is enforced before the memory it protects is allocated.
"""

from dataclasses import dataclass

from models.content import MAX_PIXELS


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request, one connection and all of them together may cost. Times are in seconds.

    body_bytes         32 MiB hold 40,000 images of 28 × 28 in binary, or 2,000 as JSON: far more than one batch
    inflated_bytes     the same once a compressed body is inflated
    json_depth         a batch of images is nested 5 deep; parsers and loggers recurse
    tensors            inputs and, as many again, requested outputs; signatures of real models stay below 20
    json_lists         lists and objects in a JSON body: 3 bytes of it take 70 in memory, and 28 MiB of them 5 s to build;
                       20 photographs of 224 × 224, nested to the last channel, are a million; more can be sent flat
    dimensions         as many as ONNX Runtime and torch support well
    id_characters      a UUID has 36; the id is echoed, so it is not free
    classes, classified   that `classification` may ask for, per row and of all rows: each is a text of Python's, made on the
                       event loop in 1 µs; people ask for 5, and a vocabulary of 32,000 for 64 rows would take seconds
    form_parts         parts of a form around one file; each costs the parser 10 µs, and 32 MiB would hold a million
    image_pixels       what an image file may declare before it is decoded
    image_scans        passes of a progressive JPEG over all its pixels: encoders make 10, and 10 bytes ask for one more
    inline_pixels      an image up to this size is decoded on the event loop (0.3 ms at most); a larger one in a thread
    inline_bytes       and a file up to this size: Pillow reads its chunks one by one, 5 µs for each 12 bytes of empty ones
    waiting_images     large images that may wait for such a thread; one more is refused with 429
    url_bytes          the protocol's own paths have 50 bytes and two names
    header_count, header_bytes   what a browser behind three proxies sends, several times over
    connections        each costs about 20 KiB while it is silent
    bodies_bytes       all request bodies that have not been answered yet, in this process; and as much again for what
                       compressed ones among them are once inflated
    head_seconds       from accept, or the first byte of a later request, to the end of its headers
    body_seconds       from there to the last byte of its body
    idle_seconds       between two requests of a connection; above the 60 of common load balancers, so that they close first
    wsgi_threads       requests a WSGI application works on at once: each blocks its thread until its batch is done
    wsgi_waiting       requests that may wait for such a thread; one more is refused with 429, and so is one whose model's
                       timeout is shorter than the wait
    write_seconds      for which a client may take nothing of an answer that is ready
    """

    body_bytes: int = 32 * 1024 * 1024
    inflated_bytes: int = 32 * 1024 * 1024
    json_depth: int = 64
    tensors: int = 64
    json_lists: int = 1_000_000
    dimensions: int = 16
    id_characters: int = 256
    classes: int = 1000
    classified: int = 100_000
    form_parts: int = 64
    image_pixels: int = MAX_PIXELS
    image_scans: int = 100
    inline_pixels: int = 256 * 256
    inline_bytes: int = 32 * 1024
    waiting_images: int = 32
    url_bytes: int = 8 * 1024
    header_count: int = 100
    header_bytes: int = 32 * 1024
    connections: int = 1024
    bodies_bytes: int = 512 * 1024 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    idle_seconds: float = 75.0
    write_seconds: float = 30.0
    wsgi_threads: int = 64
    wsgi_waiting: int = 256
