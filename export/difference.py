"""What two versions of a model say of themselves, side by side: signature, origin, scores, sizes."""

from collections.abc import Mapping
from dataclasses import dataclass

from models.content import ImageContent, LabelContent
from models.manifest import Manifest
from models.tensors import Signature, TensorSpec, show_shape

#: A fact in the first version and in the second; None where one does not have it.
Pair = tuple[object, object]


@dataclass(frozen=True, slots=True)
class Facts:
    """Two manifests compared. `signature` and `origin` hold only what differs, `scores` and `sizes` all there is."""

    signature: Mapping[str, Pair]
    origin: Mapping[str, Pair]
    scores: Mapping[str, Pair]
    sizes: Mapping[str, Pair]


def compare(first: Manifest, second: Manifest) -> Facts:
    """Return what two manifests say."""
    sizes = ({one.format: one.size_bytes for one in manifest.artifacts} for manifest in (first, second))
    return Facts(
        signature=_changed(_promises(first), _promises(second)),
        origin=_changed(_origin(first), _origin(second)),
        scores=_pairs(first.origin.scores, second.origin.scores),
        sizes=_pairs(*sizes),
    )


def _pairs(first: Mapping[str, object], second: Mapping[str, object]) -> dict[str, Pair]:
    return {name: (first.get(name), second.get(name)) for name in dict.fromkeys([*first, *second])}


def _changed(first: Mapping[str, object], second: Mapping[str, object]) -> dict[str, Pair]:
    return {name: pair for name, pair in _pairs(first, second).items() if pair[0] != pair[1]}


def _promises(manifest: Manifest) -> dict[str, object]:
    """Return what clients rely on, each under the name by which people know it."""
    signature = manifest.signature
    facts: dict[str, object] = {"max_batch_size": signature.max_batch_size}
    for kind, specs in (("input", signature.inputs), ("output", signature.outputs)):
        facts |= {f"{kind} {spec.name}": _shown(signature, spec) for spec in specs}
    if manifest.content is not None:
        sent, told = manifest.content.input, manifest.content.output
        if isinstance(sent, ImageContent):
            facts["image"] = f"{sent.width} × {sent.height}, {sent.mode}"
        else:
            facts["content"] = sent.to_json()
        facts["labels" if isinstance(told, LabelContent) else "value"] = (
            list(told.labels) if isinstance(told, LabelContent) else told.to_json()
        )
    return facts


def _shown(signature: Signature, spec: TensorSpec) -> str:
    return f"{spec.datatype} {show_shape(signature.full_shape(spec))}"


def _origin(manifest: Manifest) -> dict[str, object]:
    origin = manifest.origin
    facts: dict[str, object] = {
        "weights": manifest.checkpoint,
        "data": origin.data,
        "seed": origin.seed,
        "commit": origin.commit,
        "dirty": origin.dirty,
    }
    facts |= {f"recipe {name}": value for name, value in origin.recipe.items()}
    return facts | {f"library {name}": value for name, value in origin.libraries.items()}
