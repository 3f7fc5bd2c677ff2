"""Answers as content: what a person reads, a label with its score, or a value with its unit."""

from dataclasses import dataclass

import numpy as np

from models import fields
from models.content_error import ContentError
from models.tensors import Signature, SignatureError, Tensors, TensorSpec, expect


@dataclass(frozen=True, slots=True)
class LabelContent:
    """A classifier's answer as words: `decision` (INT64 [N]) picks a label, `scores` (FP32 [N, labels]) weighs them all."""

    labels: tuple[str, ...]
    decision: str
    scores: str

    def write(self, outputs: Tensors) -> dict[str, object]:
        """Return label, score and all labels with their scores for the first row of the outputs.

        Scores stay numpy's float32: as Python floats they would be written with digits that they do not have.
        """
        scores = outputs[self.scores][0]
        decision = int(outputs[self.decision][0])
        if not 0 <= decision < len(self.labels) or not np.isfinite(scores).all():
            found = f"decision {decision} with scores {scores.tolist()}"
            raise ContentError(self.decision, expected=f"one of {len(self.labels)} labels, and finite scores", found=found)
        return {
            "label": self.labels[decision],
            "score": scores[decision],
            "labels": dict(zip(self.labels, scores, strict=True)),
        }

    def to_json(self) -> dict[str, object]:
        """Return this content as JSON."""
        return {"kind": "label", "labels": list(self.labels), "decision": self.decision, "scores": self.scores}

    def check(self, signature: Signature) -> None:
        """Raise SignatureError unless these are outputs of that model."""
        if len(set(self.labels)) != len(self.labels):
            raise SignatureError("content: labels", expected="labels that differ", found=str(list(self.labels)))
        expect("content", TensorSpec(self.decision, "INT64", ()), signature.output(self.decision))
        expect("content", TensorSpec(self.scores, "FP32", (len(self.labels),)), signature.output(self.scores))

    @classmethod
    def from_json(cls, json: fields.Fields) -> "LabelContent":
        """Read what `to_json` wrote; raise FieldError for anything else."""
        return cls(fields.texts(json, "labels"), fields.text(json, "decision"), fields.text(json, "scores"))


@dataclass(frozen=True, slots=True)
class ValueContent:
    """A number as the answer: `value` (FP32 [N]) in `unit`, and the values of `others`, FP32 outputs of any shape."""

    value: str
    unit: str
    others: tuple[str, ...] = ()

    def write(self, outputs: Tensors) -> dict[str, object]:
        """Return value, unit and the others by name for the first row of the outputs; raise ContentError for NaN.

        Numbers stay numpy's float32: as Python floats they would be written with digits that they do not have.
        """
        told = {name: outputs[name][0] for name in (self.value, *self.others)}
        for name, found in told.items():
            if not np.isfinite(found).all():
                raise ContentError(name, expected="finite numbers", found=str(found))
        return {"value": told.pop(self.value), "unit": self.unit, **told}

    def to_json(self) -> dict[str, object]:
        """Return this content as JSON."""
        return {"kind": "value", "value": self.value, "unit": self.unit, "others": list(self.others)}

    def check(self, signature: Signature) -> None:
        """Raise SignatureError unless these are outputs of that model, with names that an answer has room for."""
        expect("content", TensorSpec(self.value, "FP32", ()), signature.output(self.value))
        taken = {"value", "unit", "model", "version", "digest"}
        for name in self.others:
            found = signature.output(name)
            if found is None or found.datatype != "FP32" or name in taken:
                expected = f"FP32 outputs with names besides {', '.join(sorted(taken))}"
                raise SignatureError(f"content: {name}", expected=expected, found=str(found))

    @classmethod
    def from_json(cls, json: fields.Fields) -> "ValueContent":
        """Read what `to_json` wrote; raise FieldError for anything else."""
        return cls(fields.text(json, "value"), fields.text(json, "unit"), fields.texts(json, "others"))
