"""KServe's model server: two processes of FastAPI around one `Model`, asked in V1 or V2, without its log of latencies."""

import os
import sys
from typing import Any

import kserve
import numpy as np
from kserve import InferOutput, InferRequest, InferResponse, model_server
from kserve.protocol.rest.multiprocess.server import RESTServerMultiProcess

from loadtests.benchmark.session import MODEL, OUTPUT, open_session, run


class Benchmark(kserve.Model):  # type: ignore[misc]  # the package is not typed here
    """The model. It travels to the processes before it has opened anything, for a session cannot."""

    def __init__(self) -> None:
        super().__init__(MODEL)
        self._session: Any = None
        self.ready = True

    async def predict(self, payload: Any, headers: Any = None, response_headers: Any = None) -> Any:
        """Answer a request of V2, or of V1."""
        if self._session is None:
            self._session = open_session(os.environ["BENCHMARK_MODEL"])
        if not isinstance(payload, InferRequest):
            found = run(self._session, np.array(payload["instances"], np.float32))
            return {"predictions": found.tolist()}
        found = run(self._session, payload.inputs[0].as_numpy())
        output = InferOutput(name=OUTPUT, shape=list(found.shape), datatype="FP32", data=found)
        return InferResponse(
            # Its answer must have an id, even where the request has none.
            response_id=payload.id or "0",
            model_name=MODEL,
            infer_outputs=[output],
            requested_outputs=payload.request_outputs,
            use_binary_outputs=payload.use_binary_outputs,
        )


class _OnLoopback(RESTServerMultiProcess):  # type: ignore[misc]  # the package is not typed here
    """KServe listens on every address and can be told of no other."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._rest_server.config.host = "127.0.0.1"


if __name__ == "__main__":
    model_server.RESTServerMultiProcess = _OnLoopback
    kserve.ModelServer(http_port=int(sys.argv[1]), workers=2, enable_grpc=False, enable_latency_logging=False).start(
        [Benchmark()]
    )
