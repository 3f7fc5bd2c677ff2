"""classification: which of three irises a flower is, of four lengths. Its card is README.md."""

from models.content import Content, LabelContent, RecordContent, RecordField
from models.spec import ModelSpec, Recipe
from models.tasks import Classification
from models.tensors import Signature, TensorSpec
from training.starters.classification import data, model

SPEC = ModelSpec(
    name="classification",
    # What programs send and get: names, datatypes, and shapes without the batch axis.
    signature=Signature(
        inputs=(TensorSpec("features", "FP32", (len(data.FIELDS),)),),
        outputs=(TensorSpec("probabilities", "FP32", (len(data.LABELS),)), TensorSpec("class", "INT64", ())),
        max_batch_size=16,
    ),
    # What people send and read instead: a JSON object in, a label with its score out.
    content=Content(
        input=RecordContent(tuple(RecordField(name, "features", place) for place, name in enumerate(data.FIELDS))),
        output=LabelContent(labels=data.LABELS, decision="class", scores="probabilities"),
    ),
    task=Classification(classes=len(data.LABELS), output="probabilities"),
    recipe=Recipe(epochs=60, batch_size=16, learning_rate=0.02, weight_decay=0.01),
    build=model.Network,
    datasets=data.datasets,
    serving_module=model.ServingModule,
    samples=data.samples,
)
