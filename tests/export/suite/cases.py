"""All cases of the suite."""

from tests.export.suite import answers, layers, refused, sequences

CASES = [*layers.CASES, *sequences.CASES, *answers.CASES, *refused.CASES]
