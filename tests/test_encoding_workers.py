"""Batches shared out among threads: every item once, the same bits, and an end at the first error."""

import threading
import time

import pytest
import torch

from bioemb.encoder import Encoder
from bioemb.encoding import encode_ids, in_workers


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("bf16", [False, True])
def test_vectors_have_the_same_bits_with_one_thread_and_with_several(three_threads, tiny_encoder_folder, bf16):
    encoder = Encoder.from_pretrained(tiny_encoder_folder, pooling="mean")
    ids = [[5 + (row * 7 + place) % 20 for place in range(1 + row % 13)] for row in range(90)]
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(encode_ids(encoder, ids, bf16=bf16, batch_tokens=40))
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert not found[0].requires_grad


def test_every_item_is_taken_once_by_threads_that_share_torchs_own(three_threads):
    taken, threads, meeting = [], set(), threading.Barrier(3, timeout=20)

    def work(items):
        meeting.wait()  # three at the same time
        threads.add(torch.get_num_threads())
        taken.extend(items)

    in_workers(work, range(1000), most=8)
    assert sorted(taken) == list(range(1000))
    assert threads == {1} and torch.get_num_threads() == 3


def test_an_error_reaches_the_caller_and_nobody_begins_another_item(three_threads):
    taken, failed = [], threading.Event()

    def work(items):
        for item in items:
            taken.append(item)
            if item == 5:
                failed.set()
                raise ValueError("item 5")
            failed.wait(20)
            time.sleep(0.001)  # as an item takes a while: all of them would take a minute

    with pytest.raises(ValueError, match="item 5"):
        in_workers(work, range(3, 100_000), most=3)
    assert len(taken) < 5_000 and torch.get_num_threads() == 3
