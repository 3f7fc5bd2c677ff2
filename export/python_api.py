"""`export_model`: from Python, what `sameway export --model` does on the command line."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor, nn

from export import foreign_origin
from export.exporter import DEFAULT_FORMATS, DEFAULTS, Options
from export.foreign_module import evaluating, source_of
from export.foreign_weights import fill
from export.publish import Publication, publish
from export.subject import Subject
from models.repository import Repository
from models.signing import Signer
from models.tensors import Array


def export_model(
    module: nn.Module,
    inputs: Mapping[str, Array | Tensor],
    *,
    name: str,
    repository: Path | str = "models",
    formats: Sequence[str] = DEFAULT_FORMATS,
    dynamic: Mapping[str, Sequence[int]] | None = None,
    outputs: Sequence[str] | None = None,
    max_batch_size: int | None = None,
    weights: Path | str | None = None,
    options: Options = DEFAULTS,
    signer: Signer | None = None,
    dry_run: bool = False,
) -> Publication:
    """Export a module that knows nothing of Sameway, check each file against it, and publish all formats or none.

    inputs          real ones, an array or tensor [rows, …] under the name of each parameter of `forward`; what
                    `forward(batch: dict)` and `forward(**tensors)` take has names too. They become the parity samples and
                    the golden sample: rows that the model meets in production prove most
    name            the model's name in the repository
    dynamic         axes that are free besides the batch axis, by input: {"tokens": [1]}. Axes of one length in `inputs` are
                    taken for equal
    outputs         those wanted, by name (`leaves.flattened` tells what a nested answer's are called), or as many new names
    max_batch_size  the largest batch, 32 unless stated; 0: there is no batch axis and `inputs` are one whole request
    weights         a safetensors file, or a state dict that `torch.save` wrote, to load into the module first
    dry_run         check everything, publish nothing

    The module is put into eval mode, and back afterwards. Raise ExportError or RepositoryError where nothing can be exported
    at all; what became of each format is in the publication: `passed`, and per result `error` and `faults`.
    """
    file = None if weights is None else Path(weights)
    digest = foreign_origin.state_digest(module) if file is None else fill(module, file)
    recipe: dict[str, object] = {"module": _qualified(module), "weights": "as given" if file is None else file.name}
    source_file = _source_file(module)
    with evaluating(module):
        source = source_of(module, inputs, dynamic=dynamic, outputs=outputs, max_batch_size=max_batch_size, options=options)
        origin = foreign_origin.origin_of(name, module, recipe, options=options, source_file=source_file)
        subject = Subject(name, source, None, digest, origin)
        return publish(subject, Repository(Path(repository)), formats, signer=signer, dry_run=dry_run)


def _qualified(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


def _source_file(module: nn.Module) -> Path | None:
    """Return the file of the module's class, None where it was typed into a prompt."""
    try:
        return Path(inspect.getfile(type(module)))
    except (TypeError, OSError):
        return None
