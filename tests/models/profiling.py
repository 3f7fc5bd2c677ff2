"""Profiles in a line, for tests: the figures are made up."""

from collections.abc import Mapping

from models import machine
from models.machine import Machine
from models.profiles import FormatProfile, Measurement, Profile, Throughput


def measurement(rate: float, *, p50: float = 1e-3, threads: int = 1) -> Measurement:
    """Return a measurement that carries `rate` rows per second in batches of 8, and half as many alone."""
    throughput = (Throughput(1, rate / 2), Throughput(8, rate))
    return Measurement(threads, 500, p50, 2 * p50, throughput, peak_bytes=80_000_000, session_bytes=9_000_000)


def profile(
    digest: str, rates: Mapping[str, float | Measurement], *, on: Machine | None = None, version: int = 1
) -> Profile:
    """Return a profile of formats with their rows per second, on this machine and with what is installed here."""
    formats = tuple(
        FormatProfile(
            format,
            machine.runtime_of(format) or "none",
            1000,
            (rate if isinstance(rate, Measurement) else measurement(rate),),
        )
        for format, rate in rates.items()
    )
    return Profile(version, digest, on or machine.here(), "2026-01-31T12:00:00+00:00", formats)
