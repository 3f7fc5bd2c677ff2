"""From a model's folder to what can be opened: its configuration, and a version with a manifest or without.

Neither runtime nor model is touched before a version is opened, so that a process which serves nothing may ask for a
configuration too.
"""

import hashlib
import logging
import os
from dataclasses import dataclass, replace

from models.repository import CONFIG, GOLDEN, MANIFEST, TRITON_CONFIG, Repository, RepositoryError
from models.tensors import Signature
from serving import model_config, triton_config
from serving.backends.base import PREFERENCE, ArtifactBytes, Backend, backend_for
from serving.backends.declared import DeclarationError, Declared
from serving.backends.devices import CPU
from serving.engine.choice import chosen
from serving.engine.probe import PROBED_ROWS, dependence
from serving.engine.servable import Servable, ServableArtifact
from serving.model_config import ConfigError, ModelConfig
from serving.triton_config import TritonConfig

log = logging.getLogger(__name__)

#: Names that could be asked for statistics and nothing else.
_TAKEN = frozenset({"stats"})

#: Format → what Triton calls its file.
_FILES = {"onnx": "model.onnx", "torchscript": "model.pt"}

#: A format, and its file, that is opened for published versions only: torch's loader asks for more trust than a found file
#: has, and Triton knows no such file, so no repository of somebody else's has one.
_PUBLISHED_ONLY = ("exported_program", "model.pt2")


@dataclass(frozen=True, slots=True)
class UnverifiedPolicy:
    """What the operator lets in besides published versions.

    require_manifest  nothing: a version without a manifest is not served
    torchscript       TorchScript files that nobody vouches for, although opening one may run code
    """

    require_manifest: bool = False
    torchscript: bool = False


@dataclass(frozen=True, slots=True)
class _Configured:
    """A model's configuration, and its `config.pbtxt` where there is one; `own` says that `config.toml` is the policy."""

    config: ModelConfig
    triton: TritonConfig | None
    own: bool


def config_of(repository: Repository, name: str) -> ModelConfig:
    """Return how a model is to be served; raise ConfigError. Opens no version and imports no runtime."""
    return _configured(repository, name).config


def open_version(repository: Repository, name: str, number: int, policy: UnverifiedPolicy) -> tuple[Servable, ModelConfig]:
    """Return a version, verified or found, and how it is to be served, in which format too.

    Raise RepositoryError, ConfigError or BackendError. A folder that holds a manifest is what the manifest says or it is
    refused: a damaged manifest makes no third-party model.
    """
    if name in _TAKEN:
        raise ConfigError(f"model name: expected another than {name!r}: /v2/models/{name} is a path of the protocol's own")
    configured = _configured(repository, name)
    config = configured.config
    files = repository.files(name, number)
    if MANIFEST in files:
        servable = Servable.published(repository.open(name, number))
        known, stated = servable.signature.max_batch_size, config.max_batch_size
        if stated is not None and stated != known:
            raise ConfigError(f"max_batch_size: expected {known}, as the manifest says, or none, found {stated}")
        return _placed(configured, *chosen(repository, servable, _queued(configured, servable.signature)))
    if GOLDEN in files:
        # Export writes one with every manifest, so this is a published version that has lost something.
        raise RepositoryError(f"{name}/{number}: {MANIFEST}: No such file or directory, but there is a {GOLDEN}")
    if policy.require_manifest:
        raise RepositoryError(f"{name}/{number}: {MANIFEST}: No such file or directory; without one nothing is served here")
    servable = _found(repository, name, number, configured, files, policy)
    return _placed(configured, *chosen(repository, servable, _queued(configured, servable.signature)))


def _placed(configured: _Configured, servable: Servable, config: ModelConfig) -> tuple[Servable, ModelConfig]:
    """Return a version and its configuration, on the CPU where only config.pbtxt wants a GPU that the runtime does not have.

    A repository of somebody else's says where it was served, which need not be here. What has no counterpart in the file is
    named in one warning.
    """
    if configured.triton is None or configured.own:
        return servable, config
    ignored = configured.triton.ignored
    if not config.on_cpu and config.format is not None:
        backend = backend_for(config.format)
        if missing := [device for device in dict.fromkeys(config.device) if not backend.has_device(device)]:
            config = replace(config, device=(CPU,))
            ignored += (f"instance_group.kind (KIND_GPU; it is served on the CPU, without {', '.join(missing)})",)
    if ignored:
        log.warning("event=config_ignored model=%s file=%s fields=%r", servable.model, TRITON_CONFIG, ignored)
    return servable, config


def _configured(repository: Repository, name: str) -> _Configured:
    """Read both files. config.toml is the policy where there is one; of config.pbtxt it takes a max_batch_size then."""
    folder = repository.root / name
    triton = triton_config.read(folder / TRITON_CONFIG, name)
    if triton is None:
        return _Configured(model_config.read(folder / CONFIG), None, own=True)
    if not os.path.lexists(folder / CONFIG):
        return _Configured(triton.config, triton, own=False)
    own = model_config.read(folder / CONFIG)
    if own.max_batch_size is None:
        own = replace(own, max_batch_size=triton.config.max_batch_size)
    return _Configured(own, triton, own=True)


def _queued(configured: _Configured, signature: Signature) -> ModelConfig:
    """Return the configuration with Triton's limit of requests as one of rows: so many requests, however large."""
    requests = None if configured.own or configured.triton is None else configured.triton.queue_requests
    if requests is None:
        return configured.config
    return replace(configured.config, queue_rows=requests * max(1, signature.max_batch_size))


def _found(
    repository: Repository, name: str, number: int, configured: _Configured, files: frozenset[str], policy: UnverifiedPolicy
) -> Servable:
    """Return a version for which nobody vouches."""
    config, triton = configured.config, configured.triton
    format, file = _file(f"{name}/{number}", configured, files)
    if format == "torchscript":
        if not policy.torchscript:
            raise RepositoryError(
                f"{name}/{number}: {file}: opening TorchScript may run code, and no manifest vouches for this file; "
                "start the server with --trust-torchscript if you do"
            )
        if triton is None or not triton.inputs or not triton.outputs:
            raise ConfigError(f"{TRITON_CONFIG}: expected the inputs and outputs, which {file} does not tell, found none")
    artifact = ArtifactBytes(file, repository.read(name, number, file))
    backend = backend_for(format)
    try:
        declared = _declared(backend, artifact, triton)
        signature, batching, why = _batched(backend, artifact, declared, config, may_probe=format == "onnx")
    except DeclarationError as error:
        raise ConfigError(f"{file}: {error}") from error
    return Servable(
        model=name,
        version=number,
        digest=hashlib.sha256(artifact.data).hexdigest(),
        verified=False,
        signature=signature,
        content=None,
        artifacts={format: ServableArtifact(artifact, {})},
        golden=None,
        batching=batching,
        remark=f"unverified: no manifest, replay: none; batching: {batching}, {why}",
    )


def _file(place: str, configured: _Configured, files: frozenset[str]) -> tuple[str, str]:
    """Return the format and the name of the model file; raise RepositoryError or ConfigError.

    config.toml may name the format, config.pbtxt the format and the file; else the file that is there says it.
    """
    triton = configured.triton
    file = None if triton is None else triton.file
    format = configured.config.format or (None if triton is None else triton.format)
    if format is None:
        ends = {name.rpartition(".")[2]: known for known, name in _FILES.items()}
        found = (known for known in PREFERENCE if known in _FILES and _FILES[known] in files)
        format = next(found, None) if file is None else ends.get(file.rpartition(".")[2])
    if format == _PUBLISHED_ONLY[0] or file == _PUBLISHED_ONLY[1] or (format is None and _PUBLISHED_ONLY[1] in files):
        raise RepositoryError(
            f"{place}: {_PUBLISHED_ONLY[1]}: an exported program is opened only where a manifest vouches for it, "
            "found none; publish it with sameway export"
        )
    if format is None:
        expected = f"{MANIFEST} or one of {', '.join(_FILES.values())}"
        raise RepositoryError(f"{place}: expected {expected}, found {file or 'none of them'}")
    if format not in _FILES:
        raise ConfigError(f"format: expected one of {', '.join(_FILES)}, found {format!r:.100}")
    return format, file or _FILES[format]


def _declared(backend: Backend, artifact: ArtifactBytes, triton: TritonConfig | None) -> Declared:
    """Return the inputs and outputs of a file: its own, within what config.pbtxt says; or only what that says."""
    own = backend.declared(artifact)
    if triton is None or not (triton.inputs or triton.outputs):
        if own is None:
            raise DeclarationError("it tells no inputs and outputs")
        return own
    return triton.positional() if own is None else own.narrowed(triton.declared(), place=TRITON_CONFIG)


def _batched(
    backend: Backend, artifact: ArtifactBytes, declared: Declared, config: ModelConfig, *, may_probe: bool
) -> tuple[Signature, str, str]:
    """Return the signature, the word for how its largest batch was found, and the reason for it.

    What is stated is believed. A file that says nothing of its inputs is not probed: where Triton is told no batch size,
    there is none.
    """
    stated = config.max_batch_size
    if stated is not None:
        word = "configured" if stated else "alone"
        return declared.signature(stated), word, f"max_batch_size {stated} as stated"
    whole = declared.signature(0)
    if not may_probe:
        return whole, "alone", "no max_batch_size is stated"
    if (problem := declared.no_batch_axis(PROBED_ROWS)) is not None:
        return whole, "alone", problem
    rows = declared.signature(PROBED_ROWS)
    session = backend.open(artifact, rows, device="cpu", threads=config.threads)
    try:
        found = dependence(session, rows)
    finally:
        session.close()
    if found is not None:
        return whole, "alone", found
    return rows, "probed", f"{PROBED_ROWS} rows"
