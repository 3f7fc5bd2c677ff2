"""novelty: how unlike all digits an image is, learnt of digits alone. Unsupervised; its card is README.md."""

from models.content import Content, ImageContent, ValueContent
from models.novelty import data, model
from models.spec import ModelSpec, Recipe
from models.tasks import Novelty
from models.tensors import Signature, TensorSpec

SPEC = ModelSpec(
    name="novelty",
    signature=Signature(
        inputs=(TensorSpec("image", "UINT8", (data.SIDE, data.SIDE)),),
        outputs=(TensorSpec("novelty", "FP32", ()), TensorSpec("embedding", "FP32", (model.CODE,))),
        max_batch_size=64,
    ),
    content=Content(
        input=ImageContent(tensor="image", width=data.SIDE, height=data.SIDE, mode="L"),
        output=ValueContent(value="novelty", unit="nats per pixel of ink", others=("embedding",)),
    ),
    task=Novelty(output="novelty"),
    recipe=Recipe(epochs=120, batch_size=64, learning_rate=0.005, weight_decay=0.1),
    build=model.Network,
    datasets=data.datasets,
    serving_module=model.ServingModule,
    samples=data.samples,
    augment=model.augment,
)
