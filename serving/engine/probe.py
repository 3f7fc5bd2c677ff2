"""May rows of a model without a manifest share an execution? `models/independence.py` on an opened session."""

from models import independence
from models.independence import PROBED_ROWS
from models.tensors import Signature, Tensors
from serving.backends.base import Session
from serving.engine.batch import check_outputs

__all__ = ["PROBED_ROWS", "dependence"]


def dependence(session: Session, signature: Signature) -> str | None:
    """Return how a row's answer depends on its company; None where nothing of the kind was found.

    `signature` is the one under which rows would be batched.
    """

    def run(rows: Tensors) -> Tensors:
        outputs = session.run(rows)
        check_outputs(signature, outputs, len(next(iter(rows.values()))))
        return outputs

    return independence.dependence(run, signature)
