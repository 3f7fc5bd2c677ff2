"""diamonds: the price of a cut diamond, of its weight, grades and measures. Regression on a table; its card is README.md."""

from models.content import Content, RecordContent, RecordField, ValueContent
from models.diamonds import data, model
from models.diamonds.table import GRADES, NUMBERS
from models.spec import ModelSpec, Recipe
from models.tasks import Regression
from models.tensors import Signature, TensorSpec

SPEC = ModelSpec(
    name="diamonds",
    signature=Signature(
        inputs=(TensorSpec("numbers", "FP32", (len(NUMBERS),)), TensorSpec("grades", "INT64", (len(GRADES),))),
        outputs=(TensorSpec("price", "FP32", ()),),
        max_batch_size=64,
    ),
    content=Content(
        input=RecordContent(
            (
                *(RecordField(name, "numbers", place) for place, name in enumerate(NUMBERS)),
                *(RecordField(name, "grades", place, grades) for place, (name, grades) in enumerate(GRADES.items())),
            )
        ),
        output=ValueContent(value="price", unit="USD"),
    ),
    # An error of 500 USD is what a network of this kind ends with.
    task=Regression(output="price", unit="USD", scale=500.0),
    recipe=Recipe(epochs=30, batch_size=256, learning_rate=0.002, weight_decay=0.3),
    build=model.Network,
    datasets=data.datasets,
    serving_module=model.ServingModule,
    samples=data.samples,
)
