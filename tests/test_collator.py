"""Batches against the rows they were made of, one row at a time. Token ids are the texts' characters."""

import random
from itertools import permutations

import numpy as np
import pytest

from bioemb.data.collator import SHORTEST_SHUFFLED, Collator
from bioemb.data.dataset import SCHEMA
from bioemb.data.examples import passage_identity
from bioemb.data.sampling import choose_group
from bioemb.records import stable_hash
from bioemb.tables import open_table, write_table


def spelled(texts, kind, prompts):
    """Token ids from which the text, its kind and its prompt can be read again."""
    prompts = prompts or [None] * len(texts)
    return [[ord(c) for c in f"{kind}|{prompt}|{text}"] for text, prompt in zip(texts, prompts, strict=True)]


def read(ids):
    kind, prompt, text = "".join(map(chr, ids)).split("|")
    return {"kind": kind, "prompt": prompt, "text": text}


def rows_of(seed, count=30):
    """Rows with 1 to 4 positives, 1 to 9 negatives, and sometimes scores, identities and prompts."""
    rng = random.Random(seed)
    rows = []
    for number in range(count):
        positives = [f"p{number}.{i}" for i in range(rng.randint(1, 4))]
        negatives = [f"n{rng.randint(0, 40)}" for _ in range(rng.randint(1, 9))]
        known = rng.random() < 0.5
        rows.append({
            "query": f"q{number}",
            "pos": positives,
            "neg": negatives,
            "pos_scores": [rng.random() for _ in positives],
            "neg_scores": [rng.random() for _ in negatives],
            "identity": rng.randint(0, 9) if rng.random() < 0.5 else None,
            "neg_identities": [rng.randint(0, 2**62) for _ in negatives] if known else None,
            "prompt": rng.choice([None, "", "find: "]),
            "passage_prompt": rng.choice([None, "", "title: "]),
        })  # fmt: skip
    return rows


def collated(rows, keys, group_size, **options):
    return Collator(rows, spelled, group_size, seed=5, **options)(keys)


def test_a_batch_holds_each_rows_query_and_its_group():
    for seed in range(40):
        rng = random.Random(seed)
        rows, size, epoch = rows_of(seed), rng.randint(2, 6), rng.randint(0, 3)
        keys = [(epoch, rng.randrange(len(rows))) for _ in range(rng.randint(1, 8))]
        batch = collated(rows, keys, size, teacher_scores=True)
        assert batch.rows.tolist() == [row for _, row in keys]
        assert len(batch.queries) == len(keys) and len(batch.passages) == len(keys) * size
        assert batch.teacher_scores.shape == (len(keys), size)
        for place, (_, number) in enumerate(keys):
            row, at = rows[number], slice(place * size, (place + 1) * size)
            positive, chosen = choose_group(
                len(row["pos"]), len(row["neg"]), size, (5, epoch, stable_hash(row["query"]))
            )
            texts = [row["pos"][positive], *(row["neg"][i] for i in chosen)]
            assert read(batch.queries[place]) == {"kind": "query", "prompt": str(row["prompt"]), "text": row["query"]}
            assert [read(ids) for ids in batch.passages[at]] == [
                {"kind": "passage", "prompt": str(row["passage_prompt"]), "text": text} for text in texts
            ]
            own = passage_identity(texts[0]) if row["identity"] is None else row["identity"]
            given = row["neg_identities"]
            others = [given[i] for i in chosen] if given else [passage_identity(text) for text in texts[1:]]
            assert batch.query_identity[place] == own and batch.passage_identity[at].tolist() == [own, *others]
            scores = [row["pos_scores"][positive], *(row["neg_scores"][i] for i in chosen)]
            np.testing.assert_array_equal(batch.teacher_scores[place], np.array(scores, np.float32))


def test_a_row_has_the_same_group_in_any_batch_and_another_in_another_epoch():
    rows = rows_of(1)
    keys = [(2, number) for number in range(len(rows))]
    random.Random(0).shuffle(keys)
    whole = collated(rows, keys, 4)
    singles = [collated(rows, [key], 4) for key in keys]
    assert whole.passages == [ids for batch in singles for ids in batch.passages]
    assert whole.passage_identity.tolist() == [i for batch in singles for i in batch.passage_identity]
    assert whole.passages != collated(rows, [(3, number) for _, number in keys], 4).passages
    assert whole.passages != Collator(rows, spelled, 4, seed=6)(keys).passages


def test_moving_a_row_in_the_data_does_not_change_its_group():
    rows = rows_of(2)
    moved = rows[::-1]
    for number in range(len(rows)):
        here, there = collated(rows, [(0, number)], 5), collated(moved, [(0, len(rows) - 1 - number)], 5)
        assert here.passages == there.passages and here.rows[0] == number


def test_an_arrow_table_gives_the_same_batch_as_plain_rows(tmp_path):
    rows = [{**row, "source": 0} for row in rows_of(3)]
    write_table(tmp_path / "rows.arrow", SCHEMA, rows)
    table = open_table(tmp_path / "rows.arrow")
    keys = [(1, 4), (1, 20), (1, 4)]
    plain, arrow = (collated(data, keys, 3, teacher_scores=True) for data in (rows, table))
    for one, other in zip(plain, arrow, strict=True):
        assert one == other if isinstance(one, list) else np.array_equal(one, other)


def test_a_group_of_one_is_the_positive():
    rows = [{**rows_of(4)[0], "neg": [], "neg_scores": [], "neg_identities": None}]
    batch = collated(rows, [(0, 0)], 1)
    assert batch.teacher_scores is None and len(batch.passages) == 1
    assert read(batch.passages[0])["text"] in rows[0]["pos"]


def test_rows_that_share_a_positive_share_its_identity_and_so_do_its_copies_among_negatives():
    rows = [
        {**rows_of(5)[0], "query": "a", "pos": ["Aspirin lowers risk."], "neg": ["x"], "identity": None,
         "neg_identities": None},
        {**rows_of(5)[0], "query": "b", "pos": ["aspirin  lowers risk"], "neg": ["y"], "identity": None,
         "neg_identities": None},
        {**rows_of(5)[0], "query": "c", "pos": ["z"], "neg": ["ASPIRIN lowers risk"], "identity": None,
         "neg_identities": None},
    ]  # fmt: skip
    batch = collated(rows, [(0, 0), (0, 1), (0, 2)], 2)
    same = batch.passage_identity == batch.query_identity[0]
    assert same.tolist() == [True, False, True, False, False, True]
    assert batch.query_identity[1] == batch.query_identity[0] != batch.query_identity[2]


def test_a_row_without_negatives_has_its_positive_alone_and_the_others_their_groups():
    rows = rows_of(7)[:5]
    for number in (1, 4):
        rows[number] = {**rows[number], "neg": [], "neg_scores": [], "neg_identities": None}
    keys = [(0, number) for number in (3, 1, 0, 4)]
    batch = collated(rows, keys, 3)
    assert batch.group_sizes.tolist() == [3, 1, 3, 1]
    singles = [collated(rows, [key], 3) for key in keys]
    assert batch.passages == [ids for single in singles for ids in single.passages]
    assert [len(single.passages) for single in singles] == [3, 1, 3, 1]
    assert batch.passage_identity.tolist() == [i for single in singles for i in single.passage_identity]


def test_a_guide_reads_the_same_texts_as_the_model():
    rows = rows_of(8)
    batch = collated(rows, [(0, 2), (0, 9)], 3, guide_token_ids=spelled)
    for ours, guides in ((batch.queries, batch.guide_queries), (batch.passages, batch.guide_passages)):
        assert [read(ids)["text"] for ids in guides] == [read(ids)["text"] for ids in ours]
    assert {read(ids)["prompt"] for ids in batch.guide_queries} == {"None"}  # a row's prompt is the model's


# FlagEmbedding's shuffle_ratio

LONG = " ".join(f"word{i}" for i in range(30))


def shuffled(ratio, count=400, text=LONG):
    """The positive's texts of so many rows."""
    rows = [{**rows_of(0)[0], "query": f"q{i}", "pos": [text], "neg": [LONG[::-1]]} for i in range(count)]
    batch = collated(rows, [(0, i) for i in range(count)], 2, shuffle_ratio=ratio)
    assert all(read(ids)["text"] == LONG[::-1] for ids in batch.passages[1::2])
    return [read(ids)["text"] for ids in batch.passages[::2]], batch


def test_shuffled_positives_are_their_thirds_in_another_order():
    cut = -(-len(LONG) // 3)
    thirds = [LONG[i : i + cut] for i in range(0, len(LONG), cut)]
    orders = {" ".join(order) for order in permutations(thirds)}
    texts, batch = shuffled(1.0)
    assert set(texts) == orders
    assert set(batch.passage_identity[::2].tolist()) == set(batch.query_identity.tolist())


@pytest.mark.parametrize("ratio", [0.0, 0.25, 1.0])
def test_so_many_positives_are_shuffled_as_the_ratio_says(ratio):
    texts, _ = shuffled(ratio)
    changed = sum(text != LONG for text in texts)
    assert abs(changed - 400 * ratio) <= 5 * (400 * ratio * (1 - ratio)) ** 0.5


def test_short_positives_stay_as_they_are():
    text = "x" * (SHORTEST_SHUFFLED - 2) + " y"
    assert set(shuffled(1.0, 50, text)[0]) == {text}
    assert set(shuffled(1.0, 50, text + "z")[0]) != {text + "z"}


def test_a_negative_that_reads_as_a_positive_of_its_row_has_the_rows_identity():
    row = {**rows_of(0)[0], "pos": ["one", "two"], "neg": ["Two.", "three", "ONE"], "identity": 7}
    for given in (None, [1, 2, 3]):
        batch = collated([{**row, "neg_identities": given}], [(0, 0)], 4)
        by_text = dict(zip((read(ids)["text"] for ids in batch.passages), batch.passage_identity.tolist(), strict=True))
        assert {by_text["Two."], by_text["ONE"]} == {7}
        assert by_text["three"] == (passage_identity("three") if given is None else 2)
