"""Which artifact of a version is opened: the configured one, else the fastest by this machine's profile, else the preferred.

A profile is beside the versions, where strangers may write, and it is believed as far as that costs nobody an answer: it
chooses among artifacts that are all proved to be the model. One that cannot be read is told of and changes nothing.
"""

import dataclasses
import logging

from models import machine, profiles
from models.repository import Repository
from serving.backends.base import PREFERENCE
from serving.engine.servable import Servable
from serving.model_config import ModelConfig

log = logging.getLogger(__name__)

#: The word for each way to a format: in the log, in the index where it is the second, and in a model's configuration.
CONFIGURED, PROFILE, PREFERRED, ONLY = "configured", "profile", "preferred", "only"


def chosen(repository: Repository, version: Servable, config: ModelConfig) -> tuple[Servable, ModelConfig]:
    """Return the version with the word for how its format was found, and the configuration with the format.

    So the choice is made once: what compares configurations sees a format that has changed, be it by a hand or by a profile.
    """
    format, why = _choice(repository, version, config)
    remark = f"format: {format}, the fastest by this machine's profile" if why == PROFILE else ""
    told = dataclasses.replace(version, chosen=why, remark=version.remark or remark)
    return told, dataclasses.replace(config, format=format)


def _choice(repository: Repository, version: Servable, config: ModelConfig) -> tuple[str | None, str]:
    """Return a format, None where the version has none that is opened unless configured, and the word for why."""
    if config.format is not None:
        return config.format, CONFIGURED
    formats = [format for format in PREFERENCE if format in version.artifacts]
    if len(formats) < 2:
        return next(iter(formats), None), ONLY
    if not config.on_cpu:  # which is where profiles are measured: another format may be the fastest elsewhere
        return formats[0], PREFERRED
    return _fastest(repository, version, formats, config.threads) or (formats[0], PREFERRED)


def _fastest(repository: Repository, version: Servable, formats: list[str], threads: int) -> tuple[str, str] | None:
    """Return what the profile of this machine chooses, None where there is none that could."""
    try:
        known = profiles.read(repository.root / version.model)
    except profiles.ProfileError as error:
        log.warning("event=profile_ignored model=%s version=%d reason=%r", version.model, version.version, str(error))
        return None
    profile = profiles.find(known, version.digest, machine.here())
    if profile is None:
        return None
    format = profiles.fastest(profile, formats, threads=threads)
    return None if format is None else (format, PROFILE)
