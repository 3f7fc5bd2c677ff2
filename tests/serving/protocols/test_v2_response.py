"""Classification: which values are told, in which order, and how many."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.tensors import Array, Signature, TensorSpec
from serving.errors import InvalidInput, MalformedRequest
from serving.limits import Limits
from serving.protocols import v2_request, v2_response
from serving.protocols.route import HttpRequest
from serving.protocols.v2_head import WantedOutput
from serving.protocols.v2_request import V2Request
from serving.request import InferResponse, Timings


def classified(array: Array, classes: int, limits: Limits | None = None) -> bytes:
    answer = InferResponse("toy", 3, "d" * 64, {"y": array}, None, Timings(0, 0, 0, 0))
    spec = TensorSpec("y", "FP32", (array.shape[1],))
    wanted = V2Request({}, outputs={"y": WantedOutput(classes=classes)})
    return v2_response.encode(answer, wanted, Signature((spec,), (spec,), 8), (), limits or Limits()).body


@given(arrays.arrays(np.float32, st.integers(1, 20), elements=st.sampled_from([0, -0.0, 1, 2, np.nan, np.inf, -np.inf])),
       st.integers(0, 20))  # fmt: skip
def test_the_first_are_those_that_a_stable_sort_would_put_first(values: Array, count: int) -> None:
    count = min(count, len(values))
    assert v2_response._first(values, count).tolist() == np.argsort(values, kind="stable")[:count].tolist()


def test_the_largest_come_first_and_of_equal_ones_the_lowest_index() -> None:
    assert b'["2.0:1","2.0:3","1.0:0"]' in classified(np.array([[1, 2, 0, 2]], np.float32), 3)


def test_all_rows_together_have_so_many_classes_and_no_more() -> None:
    limits = Limits(classified=6)
    assert b"2,3" in classified(np.zeros((2, 5), np.float32), 3, limits)
    with pytest.raises(InvalidInput, match="at most 6 classes of all rows, found 8"):
        classified(np.zeros((2, 5), np.float32), 4, limits)


def test_a_row_has_so_many_classes_and_no_more() -> None:
    spec = TensorSpec("y", "FP32", (1,))
    body = b'{"inputs":[{"name":"y","datatype":"FP32","shape":[1,1],"data":[1]}],'
    body += b'"outputs":[{"name":"y","parameters":{"classification":1001}}]}'
    with pytest.raises(MalformedRequest, match="classification: expected at most 1000, found 1001"):
        v2_request.Decoder(Limits()).decode(HttpRequest("POST", "/", {}, body, 0.0), Signature((spec,), (spec,), 8))
