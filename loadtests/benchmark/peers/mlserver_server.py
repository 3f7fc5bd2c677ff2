"""MLServer: one process, the model in it, asked in V2's JSON; its REST server has no binary tensors.

Its other way, workers in processes of their own, passes every request over a queue, and was not measured here; nor was its
adaptive batching.
"""

import asyncio
import os
import sys

from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from loadtests.benchmark.session import MODEL, OUTPUT, open_session, run


class Benchmark(MLModel):  # type: ignore[misc]  # the package is not typed here
    """The model."""

    async def load(self) -> bool:
        """Open the session."""
        self._session = open_session(os.environ["BENCHMARK_MODEL"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer a request."""
        given = payload.inputs[0]
        found = run(self._session, NumpyCodec.decode_input(given).reshape(given.shape))
        return InferenceResponse(model_name=MODEL, outputs=[NumpyCodec.encode_output(OUTPUT, found)])


async def _serve(port: int) -> None:
    settings = Settings(
        debug=False,
        host="127.0.0.1",
        http_port=port,
        grpc_port=0,
        metrics_endpoint=None,
        parallel_workers=0,
        gzip_enabled=False,
        load_models_at_startup=False,
    )
    await MLServer(settings).start([ModelSettings(name=MODEL, implementation=Benchmark)])


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
