import torch

from export.threads import one_thread


def test_torch_has_one_thread_within_and_as_many_as_before_after() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
