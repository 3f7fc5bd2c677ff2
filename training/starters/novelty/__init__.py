"""novelty: how unlike a benign lump of the breast a lump is, of ten measurements of its cells. Its card is README.md."""

from models.content import Content, RecordContent, RecordField, ValueContent
from models.spec import ModelSpec, Recipe
from models.tasks import Novelty
from models.tensors import Signature, TensorSpec
from training.starters.novelty import data, model

SPEC = ModelSpec(
    name="novelty",
    # What programs send and get: names, datatypes, and shapes without the batch axis.
    signature=Signature(
        inputs=(TensorSpec("features", "FP32", (len(data.FIELDS),)),),
        outputs=(TensorSpec("novelty", "FP32", ()), TensorSpec("embedding", "FP32", (model.CODE,))),
        max_batch_size=64,
    ),
    # What people send and read instead: a JSON object in, a number with its unit out.
    content=Content(
        input=RecordContent(tuple(RecordField(name, "features", place) for place, name in enumerate(data.FIELDS))),
        output=ValueContent(value="novelty", unit="squared deviations", others=("embedding",)),
    ),
    task=Novelty(output="novelty"),
    recipe=Recipe(epochs=60, batch_size=16, learning_rate=0.01, weight_decay=0.01),
    build=model.Network,
    datasets=data.datasets,
    serving_module=model.ServingModule,
    samples=data.samples,
)
