import math

import numpy as np

from export import evidence


def test_every_error_is_counted_once_and_where_it_belongs() -> None:
    errors = np.array([0.0, 0.0, 1.5e-6, 4e-6, 1e-5, 1.2e-5, math.inf])
    found = evidence.histogram(errors)
    assert (found.equal, found.infinite) == (2, 1)
    assert found.counts == (1, 1, 2)
    np.testing.assert_allclose(found.edges, [1e-6, 10**-5.5, 1e-5, 10**-4.5])
    assert found.equal + found.infinite + sum(found.counts) == errors.size


def test_without_an_error_there_are_no_bins() -> None:
    assert evidence.histogram(np.zeros((2, 3))) == evidence.Histogram(6, 0, (), ())
    assert evidence.histogram(np.empty((2, 0))) == evidence.Histogram(0, 0, (), ())


def test_the_smallest_number_has_a_bin() -> None:
    found = evidence.histogram(np.array([5e-324, 1.0]))
    assert sum(found.counts) == 2


def test_the_worst_samples_are_shown_as_the_file_answered_there() -> None:
    expected = np.arange(6.0).reshape(3, 2)
    found = np.stack([expected, expected])
    found[1, 2, 0] += 0.5  # the second batch size, the third sample
    found[0, 0, 1] += 0.25
    worst, next_to_it = evidence.gather(np.abs(found - expected), expected, found).worst
    assert (worst.sample, next_to_it.sample) == (2, 0)
    np.testing.assert_array_equal(worst.expected, [4.0, 5.0])
    np.testing.assert_array_equal(worst.found, [4.5, 5.0])
    np.testing.assert_array_equal(next_to_it.found, [0.0, 1.25])


def test_outputs_without_elements_or_errors_have_no_worst_sample() -> None:
    for shape in ((2, 3), (2, 3, 0)):
        nothing = np.zeros(shape)
        assert evidence.gather(nothing, nothing[0], nothing).worst == ()
