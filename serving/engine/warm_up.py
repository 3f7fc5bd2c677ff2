"""Warming a session up where no golden sample is known: generated inputs, alone and in the largest batch."""

from models import generated
from models.tensors import Signature
from serving.backends.base import BackendError, Session
from serving.engine.batch import OutputError, check_outputs


def warm_up(session: Session, signature: Signature) -> bool:
    """Run generated inputs and tell whether the session took them; raise BackendError for outputs it must not give.

    A model may well refuse random values. But one whose outputs are not those declared would fail every request.
    """
    for length in generated.lengths(signature):
        try:
            for rows in dict.fromkeys((1, max(1, signature.max_batch_size))):
                inputs = generated.inputs(signature, rows=rows, length=length)
                check_outputs(signature, session.run(inputs), rows)
        except OutputError as error:
            raise BackendError(f"the model's outputs are not those declared: {error}") from error
        except Exception:  # noqa: S112, BLE001 - a runtime may raise anything, and another length may suit it
            continue
        return True
    return False
