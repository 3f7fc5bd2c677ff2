"""regression: how far a patient's diabetes has progressed in a year, of ten measurements. Its card is README.md."""

from models.content import Content, RecordContent, RecordField, ValueContent
from models.spec import ModelSpec, Recipe
from models.tasks import Regression
from models.tensors import Signature, TensorSpec
from training.starters.regression import data, model

SPEC = ModelSpec(
    name="regression",
    # What programs send and get: names, datatypes, and shapes without the batch axis.
    signature=Signature(
        inputs=(TensorSpec("features", "FP32", (len(data.FIELDS),)),),
        outputs=(TensorSpec("value", "FP32", ()),),
        max_batch_size=64,
    ),
    # What people send and read instead: a JSON object in, a number with its unit out.
    content=Content(
        input=RecordContent(tuple(RecordField(name, "features", place) for place, name in enumerate(data.FIELDS))),
        output=ValueContent(value="value", unit="points"),
    ),
    # `scale` is about the error to be expected: what the loss calls one.
    task=Regression(output="value", unit="points", scale=50.0),
    recipe=Recipe(epochs=60, batch_size=32, learning_rate=0.01, weight_decay=0.1),
    build=model.Network,
    datasets=data.datasets,
    serving_module=model.ServingModule,
    samples=data.samples,
)
