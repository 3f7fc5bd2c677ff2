"""digits: which of the ten digits somebody wrote. The smallest model that goes all the way; its card is README.md."""

from models.content import Content, ImageContent, LabelContent
from models.digits import data, model
from models.spec import ModelSpec, Recipe
from models.tasks import Classification
from models.tensors import Signature, TensorSpec

SPEC = ModelSpec(
    name="digits",
    signature=Signature(
        inputs=(TensorSpec("image", "UINT8", (data.SIDE, data.SIDE)),),
        outputs=(TensorSpec("probabilities", "FP32", (data.CLASSES,)), TensorSpec("class", "INT64", ())),
        max_batch_size=64,
    ),
    content=Content(
        input=ImageContent(tensor="image", width=data.SIDE, height=data.SIDE, mode="L"),
        output=LabelContent(labels=tuple("0123456789"), decision="class", scores="probabilities"),
    ),
    task=Classification(classes=data.CLASSES, output="probabilities"),
    recipe=Recipe(epochs=20, batch_size=64, learning_rate=0.01, weight_decay=0.05, label_smoothing=0.1),
    build=model.Network,
    datasets=data.datasets,
    serving_module=model.ServingModule,
    samples=data.samples,
    augment=model.augment,
)
