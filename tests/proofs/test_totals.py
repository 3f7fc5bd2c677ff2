from prometheus_client.samples import Sample

from proofs import totals


def sample(name: str, value: float, **labels: str) -> Sample:
    return Sample(name, labels, value)


SAMPLES = [
    sample("sameway_requests_total", 3.0, model="a", version="2", outcome="ok", reason=""),
    sample("sameway_requests_retired_total", 4.0, model="a", outcome="ok", reason=""),
    sample("sameway_requests_total", 1.0, model="a", version="2", outcome="refused", reason="overloaded"),
    sample("sameway_requests_total", 0.0, model="a", version="2", outcome="failed", reason="inference_failed"),
    sample("sameway_requests_total", 9.0, model="b", version="1", outcome="ok", reason=""),
    sample("sameway_in_flight", 5.0),
]


def test_the_ends_of_a_models_requests_are_those_of_all_its_versions() -> None:
    assert totals.ended(SAMPLES, "a") == {("ok", ""): 7, ("refused", "overloaded"): 1}


def test_a_value_is_the_sum_of_the_samples_that_have_the_labels() -> None:
    assert totals.value(SAMPLES, "sameway_requests_total", outcome="ok") == 12
    assert totals.value(SAMPLES, "sameway_requests_total", model="a", version="2") == 4
    assert totals.value(SAMPLES, "sameway_in_flight") == 5
    assert totals.value(SAMPLES, "sameway_queue_rows") == 0
