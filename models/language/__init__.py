"""language: which of 16 languages a short text is in, of its bytes. Made of word lists; its card is README.md."""

from models.content import Content, LabelContent, TextContent
from models.language import data, model
from models.spec import ModelSpec, Recipe
from models.tasks import Classification
from models.tensors import Signature, TensorSpec

SPEC = ModelSpec(
    name="language",
    signature=Signature(
        inputs=(TensorSpec("text", "UINT8", (None,)),),
        outputs=(TensorSpec("probabilities", "FP32", (len(data.LANGUAGES),)), TensorSpec("language", "INT64", ())),
        max_batch_size=64,
    ),
    content=Content(
        # Texts of like length share a batch; 1,000 bytes are a long paragraph, far more than is needed to be sure.
        input=TextContent(tensor="text", most_bytes=1000, pad_to=32),
        output=LabelContent(labels=data.LANGUAGES, decision="language", scores="probabilities"),
    ),
    task=Classification(classes=len(data.LANGUAGES), output="probabilities"),
    recipe=Recipe(epochs=6, batch_size=2048, learning_rate=0.02, weight_decay=0.1),
    build=model.Network,
    datasets=data.datasets,
    serving_module=model.ServingModule,
    samples=data.samples,
)
