"""Negative selection against a miner in plain Python, and the silent bugs of other miners as named tests."""

import doctest
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from naive_miner import Case, lopsided_case, naive_miner, naive_reason, random_rule

from bioemb.errors import ConfigError
from bioemb.mining import Context, NegativeRule, negatives, select_negatives

ALL = NegativeRule(0, 50, count=50, sampling="top", on_short="fewer")  # every eligible candidate


def select(case, rule):
    *arrays, context = case.arguments()
    return select_negatives(*arrays, rule, context)


def kept(array, missing=-1):
    """The rows as lists, without what is missing."""
    return [[value for value in row if value != missing] for row in array.tolist()]


def test_the_worked_example_runs():
    assert doctest.testmod(negatives) == (0, 9)


def test_eligible_candidates_are_those_of_a_plain_loop():
    for seed in range(200):
        case, rule = lopsided_case(seed), replace(random_rule(seed), count=50, sampling="top", on_short="fewer")
        eligible, _, _ = naive_miner(case, rule)
        assert kept(select(case, rule).ranks) == eligible, f"seed {seed}"


def test_the_selection_and_its_counts_are_those_of_a_plain_loop():
    for seed in range(200):
        case, rule = lopsided_case(seed), random_rule(seed)
        selection = select(case, rule)
        _, chosen, dropped = naive_miner(case, rule)
        by_rank = selection.ranks >= 0
        assert kept(selection.ranks) == chosen, f"seed {seed}"
        assert kept(np.where(by_rank, selection.ids, -1)) == [
            [case.ids[row][rank] for rank in ranks] for row, ranks in enumerate(chosen)
        ]
        expected = [np.float32(case.scores[row][rank]) for row, ranks in enumerate(chosen) for rank in ranks]
        assert selection.scores[by_rank].tolist() == expected
        assert selection.dropped == dropped
        looked_at = sum(min(len(ids), rule.range_stop) for ids in case.ids)
        assert sum(dropped.values()) + by_rank.sum() == looked_at


def test_filling_up_takes_free_passages_until_the_count_or_the_corpus_ends():
    filled = 0
    for seed in range(200):
        case, rule = lopsided_case(seed), replace(random_rule(seed), on_short="random")
        selection = select(case, rule)
        for row, (ids, ranks) in enumerate(zip(selection.ids.tolist(), selection.ranks.tolist(), strict=True)):
            own, ranked = set(case.query_identities[row]) - {-1}, set(case.ids[row][: rule.range_stop])
            free = {
                passage
                for passage, identity in enumerate(case.passage_identities)
                if identity not in own and passage not in ranked and passage not in case.excluded[row]
            }
            fill = [passage for passage, rank in zip(ids, ranks, strict=True) if passage >= 0 and rank < 0]
            assert len(set(fill)) == len(fill) and set(fill) <= free, f"seed {seed}"
            assert len(fill) == min(rule.count - sum(rank >= 0 for rank in ranks), len(free))
            filled += len(fill)
        assert np.isnan(selection.scores[(selection.ids >= 0) & (selection.ranks < 0)]).all()
        assert (selection.scores[selection.ids < 0] == -np.inf).all()
    assert filled > 200


def test_what_fills_up_is_within_the_bounds_where_scores_can_be_had():
    filled = refused = 0
    for seed in range(200):
        case, rule = lopsided_case(seed), replace(random_rule(seed), on_short="random")
        *arrays, context = case.arguments()
        size = len(case.passage_identities)
        whole = np.random.default_rng(seed).uniform(-0.6, 1, (len(case.ids), size)).astype(np.float32)
        selection = select_negatives(*arrays, rule, context._replace(score_of=lambda row, ids, of=whole: of[row, ids]))
        everything = case._replace(ids=[list(range(size))] * len(case.ids), scores=whole.tolist())
        anything = replace(rule, range_start=0)
        for row, (ids, ranks) in enumerate(zip(selection.ids.tolist(), selection.ranks.tolist(), strict=True)):
            ranked = set(case.ids[row][: rule.range_stop])
            unranked = [passage for passage in range(size) if passage not in ranked]
            free = {passage for passage in unranked if naive_reason(everything, row, passage, anything) is None}
            places = [place for place, rank in enumerate(ranks) if rank < 0 <= ids[place]]
            fill = [ids[place] for place in places]
            assert set(fill) <= free and len(fill) == len(set(fill)), f"seed {seed}"
            assert len(fill) == min(rule.count - sum(rank >= 0 for rank in ranks), len(free))
            assert selection.scores[row, places].tolist() == whole[row, fill].tolist()
            filled, refused = filled + len(fill), refused + len(unranked) - len(free)
    assert filled > 50 and refused > 50


def test_what_the_context_refuses_fills_up_nothing():
    context = Context(None, 9, score_of=lambda row, ids: ids / 10, refuses=lambda row, ids: (ids + row) % 2 == 0)
    rule = NegativeRule(0, 1, count=9, max_score=0.65)
    selection = select_negatives([[0.9], [0.9]], [[0], [0]], [[0], [0]], [0.9, 0.9], rule, context)
    assert [sorted(row) for row in kept(selection.ids)] == [[1, 3, 5], [2, 4, 6]]


def test_a_large_corpus_is_not_scored_to_its_end_for_a_row_that_finds_nothing():
    looked = []

    def score_of(row, ids):
        looked.append(len(ids))
        return np.full(len(ids), 0.9, np.float32)

    rule = NegativeRule(0, 1, count=2, relative_margin=0.1)
    selection = select_negatives([[0.9]], [[0]], [[0]], [0.9], rule, Context(corpus_size=10**7, score_of=score_of))
    assert selection.short == {"without any": 1} and sum(looked) < 2_000


def test_scores_of_another_number_are_refused():
    context = Context(corpus_size=9, score_of=lambda row, ids: np.zeros(1))
    with pytest.raises(ConfigError, match="a number for each of 8 passages"):
        select_negatives([[0.9]], [[0]], [[0]], [0.9], NegativeRule(0, 1, count=2), context)


def test_short_queries_are_counted_once_each_by_what_became_of_them():
    for seed in range(200):
        case, rule = lopsided_case(seed), random_rule(seed)
        lengths = [len(row) for row in kept(select(case, rule).ids)]
        short = [len(left) < rule.count for left in naive_miner(case, replace(rule, count=50))[0]]
        expected = Counter()
        for length, is_short in zip(lengths, short, strict=True):
            if is_short and rule.on_short == "drop":
                expected["dropped"] += 1
            elif is_short:
                outcome = "without any" if length == 0 else "given fewer" if length < rule.count else "filled at random"
                expected[outcome] += 1
        assert select(case, rule).short == expected, f"seed {seed}"


# --- bugs that others lived with ---


def test_each_query_is_bounded_by_its_own_lowest_positive():
    """Positives numbering 1, 3 and 2 once gave the previous query's bound."""
    positives = [[0.9], [0.7, 0.6, 0.8], [0.5, 0.4]]
    scores = np.tile(np.float32([0.85, 0.55, 0.35, 0.1]), (3, 1))
    ids = np.tile([4, 5, 6, 7], (3, 1))
    rule = replace(ALL, absolute_margin=0.0)
    assert kept(select_negatives(scores, ids, [[0], [1, 2, 3], [8, 9]], positives, rule).ids) == [
        [4, 5, 6, 7],
        [5, 6, 7],
        [6, 7],
    ]


def test_a_relative_margin_lowers_the_bound_of_a_negative_positive():
    """p (1 - m) raised it: -0.4 became -0.2, and passage 0 was kept."""
    scores, ids = np.float32([[-0.3, -0.45, -0.59, -0.61]]), np.array([[0, 1, 2, 3]])
    assert kept(select_negatives(scores, ids, [[9]], [-0.4], replace(ALL, relative_margin=0.5)).ids) == [[3]]


def test_padding_never_becomes_the_last_passage():
    scores, ids = np.float32([[0.9, 0.2, -np.inf], [0.8, -np.inf, -np.inf]]), np.array([[3, 9, -1], [1, -1, -1]])
    identities = np.arange(100, 110)
    for on_short, expected in {"fewer": [[9], [1]], "random": [[9], [1]]}.items():
        rule = NegativeRule(0, 3, count=3, on_short=on_short)
        context = Context(None, 10, [[103], []], identities)
        selection = select_negatives(scores, ids, [[], []], None, rule, context)
        assert kept(np.where(selection.ranks >= 0, selection.ids, -1)) == expected
    assert selection.dropped == {"padding": 3, "same identity": 1}


def test_a_passage_without_a_score_never_becomes_a_negative():
    scores, ids = [[0.9, 0.2, -np.inf], [0.8, -np.inf, -np.inf]], [[3, 9, 2], [1, 0, -1]]
    for sampling in ("top", "uniform", "simans"):
        rule = NegativeRule(0, 3, count=3, sampling=sampling, on_short="fewer", simans_a=0.0)
        selection = select_negatives(scores, ids, [[3], []], [0.9, 0.9], rule)
        assert kept(selection.ids) == [[9], [1]] and selection.dropped == {"padding": 3, "positive or same text": 1}
        few = select_negatives(scores, ids, [[3], []], [0.9, 0.9], replace(rule, count=1))
        assert kept(few.ids) == [[9], [1]]
    filled = select_negatives(scores, ids, None, None, NegativeRule(0, 3, count=9), Context(corpus_size=10))
    assert 2 not in filled.ids[0] and 0 not in filled.ids[1]  # who masks a passage wants it by no other way


def test_a_ranking_that_does_not_reach_the_ranges_end_is_refused():
    """One peer's index fetched fewer than the range and its positives needed."""
    scores, ids = np.float32([[0.9, 0.8, 0.7]]), np.array([[0, 1, 2]])
    rule = NegativeRule(0, 4, count=1, on_short="fewer")
    with pytest.raises(ConfigError, match="search for k = 4"):
        select_negatives(scores, ids, [[]], None, rule, Context(corpus_size=9))
    whole_corpus = select_negatives(scores, ids, [[1]], None, replace(rule, count=3), Context(corpus_size=3))
    assert kept(whole_corpus.ids) == [[0, 2]]


def test_more_candidates_than_passages_are_no_error():
    scores, ids = np.float32([[0.9, 0.8, -np.inf, -np.inf]]), np.array([[1, 0, -1, -1]])
    selection = select_negatives(scores, ids, [[1]], None, NegativeRule(0, 4, count=3), Context(corpus_size=2))
    assert kept(selection.ids) == [[0]] and selection.short == {"given fewer": 1}


def test_a_range_counts_the_ranks_that_positives_take():
    """FlagEmbedding's meaning: of "2-5", ranks 2, 3 and 4, a positive at rank 3 leaves two."""
    start, stop = NegativeRule.parse_range("2-5")
    scores, ids = np.float32([np.linspace(0.9, 0.1, 8)]), np.array([[10, 11, 12, 13, 14, 15, 16, 17]])
    selection = select_negatives(scores, ids, [[13]], [0.5], NegativeRule(start, stop, count=9, on_short="fewer"))
    assert kept(selection.ids) == [[12, 14]]


def test_random_filling_adds_neither_positives_nor_duplicates_nor_the_queries_own_article():
    """FlagEmbedding's 20 passages and 10 negatives gave duplicates in three rows of four."""
    queries = 300
    scores, ids = np.tile(np.float32([[0.9, 0.8, 0.7]]), (queries, 1)), np.tile([[0, 1, 2]], (queries, 1))
    rule, identities = NegativeRule(1, 3, count=10), np.arange(20) // 2  # passages 0 and 1 are of one article
    selection = select_negatives(
        scores, ids, [[0, 5, 19]] * queries, None, rule, Context(None, 20, [0] * queries, identities)
    )
    assert (selection.ids[:, 0] == 2).all()
    for row in selection.ids.tolist():
        assert len(set(row)) == 10 and not set(row) & {0, 1, 5, 19}
    assert len(set(map(tuple, selection.ids.tolist()))) == queries  # and every query has its own


# --- determinism ---


def test_order_shards_and_blocks_of_queries_change_nothing(monkeypatch):
    for seed in range(60):
        case, rule = lopsided_case(seed), random_rule(seed)
        whole = select(case, rule)
        order = np.random.default_rng(seed).permutation(len(case.ids)).tolist()
        shuffled = select(Case(*([field[i] for i in order] for field in case[:6]), case.passage_identities), rule)
        alone = [select(Case(*([field[i]] for field in case[:6]), case.passage_identities), rule) for i in order]
        for field in ("ids", "scores", "ranks"):
            expected = getattr(whole, field)[order]
            np.testing.assert_array_equal(getattr(shuffled, field), expected)
            np.testing.assert_array_equal(np.concatenate([getattr(one, field) for one in alone]), expected)
        with monkeypatch.context() as patch:
            patch.setattr(negatives, "BLOCK", 40)
            blocks = select(case, rule)
        np.testing.assert_array_equal(blocks.ids, whole.ids)
        assert (blocks.dropped, blocks.short) == (whole.dropped, whole.short)


def test_the_columns_beyond_the_range_change_nothing():
    scores, ids = np.float32([np.linspace(0.9, 0.1, 30)]), np.random.default_rng(1).permutation(40)[None, :30]
    rule = NegativeRule(2, 9, count=12, seed=5)
    near, far = (select_negatives(scores[:, :k], ids[:, :k], [[3]], None, rule, Context(None, 40)) for k in (9, 30))
    np.testing.assert_array_equal(near.ids, far.ids)
    assert near.dropped == far.dropped


def test_another_seed_or_row_key_draws_other_negatives_and_the_same_draws_the_same():
    scores, ids = np.float32([np.linspace(0.9, 0.1, 100)] * 3), np.tile(np.arange(100), (3, 1))

    def drawn(seed):
        rule = NegativeRule(0, 100, count=10, seed=seed)
        return select_negatives(scores, ids, [[], [], []], None, rule, Context(np.array([5, -7, 5]))).ids.tolist()

    first, second, third = drawn(1)
    assert first == third != second
    assert drawn(1)[0] == first != drawn(2)[0]


# --- counting apart, and words to the user ---


def test_excluded_passages_are_counted_by_the_reasons_given():
    scores, ids = np.float32([[0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6]]), np.array([[4, 5, 6, 7], [7, 6, 5, 4]])
    reasons = {"positive": [[4], [9]], "linked article": [[4, 5], [6]], "near-duplicate": [[], [5, 8]]}
    selection = select_negatives(scores, ids, reasons, None, ALL)
    assert selection.dropped == {"positive": 1, "linked article": 2, "near-duplicate": 1}
    assert kept(selection.ids) == [[6, 7], [7, 4]]


def test_no_queries_give_an_empty_selection():
    empty = np.empty((0, 60))
    selection = select_negatives(empty.astype(np.float32), empty.astype(np.int64), [], [], NegativeRule(0, 60, count=7))
    assert selection.ids.shape == selection.scores.shape == (0, 7)
    assert selection.dropped == selection.short == {}
    for context in (Context(), Context([], 100, [], np.arange(100))):
        lists = select_negatives([], [], [], [], NegativeRule(0, 60, count=7, relative_margin=0.1), context)
        assert lists.ids.shape == lists.scores.shape == (0, 7) and lists.dropped == lists.short == {}


def test_queries_without_candidates_are_given_what_the_corpus_has_free_or_nothing():
    scores, ids, rule = np.empty((3, 0), np.float32), np.empty((3, 0), np.int64), NegativeRule(0, 4, count=2)
    few = select_negatives(scores, ids, [[3], [], [1]], None, replace(rule, on_short="fewer"))
    assert (few.ids == -1).all() and few.ids.shape == (3, 2)
    assert few.dropped == {} and few.short == {"without any": 3}
    lists = select_negatives([[], [], []], [[], [], []], None, None, replace(rule, on_short="fewer"))
    assert lists.ids.tolist() == few.ids.tolist() and lists.short == few.short
    none = select_negatives(scores, ids, None, None, rule, Context(corpus_size=0))
    assert (none.ids == -1).all() and none.short == {"without any": 3}


GOOD = {
    "scores": np.float32([[0.9, 0.8], [0.7, 0.6]]),
    "ids": np.array([[0, 1], [2, 3]]),
    "excluded_ids": [[0], []],
    "positive_scores": [0.9, 0.5],
    "rule": NegativeRule(0, 2, count=1, relative_margin=0.1, on_short="fewer"),
    "context": Context(corpus_size=4),
}


@pytest.mark.parametrize(
    "change, words",
    [
        ({"scores": np.float32([[0.9, 0.8]])}, r"both \[q, k\]"),
        ({"scores": np.float32([[0.9, 0.8], [0.6, 0.7]])}, "query 1 .* has scores that rise or are nan"),
        ({"scores": np.float32([[0.9, np.nan], [0.7, 0.6]])}, "query 0 .* has scores that rise or are nan"),
        ({"scores": np.float32([[0.9, 0.8], [np.inf, 0.6]])}, "query 1 .* has a score of infinity"),
        ({"ids": np.array([[0, 1], [3, 3]])}, "query 1 .* names a passage twice"),
        ({"ids": np.array([[0, 4], [2, 3]])}, "query 0 .* beyond the corpus of 4"),
        ({"excluded_ids": [[0]]}, r"excluded_ids \(positive or same text\) has 1 rows, and there are 2 queries"),
        ({"positive_scores": [[0.9], []]}, "query 1 .* has no positive score"),
        ({"positive_scores": None}, "query 0 .* has no positive score"),
        ({"positive_scores": [0.9, np.inf]}, "query 1 .* has an infinite positive score"),
        ({"positive_scores": [[0.9, -np.inf], [0.5]]}, "query 0 .* has an infinite positive score"),
        ({"context": Context(query_identities=[1, 2])}, "give both query_identities and passage_identities"),
        ({"context": Context(None, 4, [1, 2], np.arange(5))}, "corpus_size is 4, but passage_identities has 5 rows"),
        ({"context": Context(), "rule": NegativeRule(0, 2, count=2)}, "pass Context\\(corpus_size=...\\)"),
    ],
)
def test_inputs_that_contradict_each_other_are_refused(change, words):
    assert kept(select_negatives(**GOOD).ids) == [[1], []]
    with pytest.raises(ConfigError, match=words):
        select_negatives(**{**GOOD, **change})


# --- plain lists, as a notebook has them ---


def test_plain_lists_give_what_arrays_give():
    for seed in range(60):
        case, rule = lopsided_case(seed), random_rule(seed)
        _, _, excluded, positives, context = case.arguments()
        if not all(case.scores):
            continue
        lists = select_negatives(case.scores, case.ids, excluded, positives, rule, context)
        expected = select(case, rule)
        assert kept(lists.ids) == kept(expected.ids), f"seed {seed}"
        assert lists.dropped == expected.dropped


def test_no_exclusions_may_be_left_out_or_none():
    scores, ids, rule = [[0.9, 0.8], [0.7, 0.6]], [[4, 5], [6, 4]], NegativeRule(0, 2, count=2, on_short="fewer")
    assert kept(select_negatives(scores, ids, None, None, rule).ids) == [[4, 5], [6, 4]]
    assert kept(select_negatives(scores, ids, [None, [4]], None, rule).ids) == [[4, 5], [6]]
    assert kept(select_negatives(scores, ids, {"positive": [[5], None], "linked": None}, None, rule).ids) == [
        [4],
        [6, 4],
    ]
    assert kept(select_negatives(scores, ids, [5, [4]], None, rule).ids) == [[4], [6]]  # a number is a list of one
    assert kept(select_negatives(scores, ids, [np.array([]), np.uint8([4])], None, rule).ids) == [[4, 5], [6]]


@pytest.mark.parametrize(
    "change, words",
    [
        (
            {"scores": [[0.9, 0.8], [0.7]]},
            r"scores are numbers \[q, k\], rows of one length, short ones ending in -inf",
        ),
        ({"ids": [[0, 1], [2]]}, r"ids are whole numbers \[q, k\].* ending in -1"),
        ({"ids": [[0.5, 1.0], [2.0, 3.0]]}, "ids are whole numbers"),
        ({"scores": [["high", "low"], ["a", "b"]]}, "scores are numbers"),
        ({"excluded_ids": [["a"], []]}, r"excluded_ids \(positive or same text\) is a list of whole numbers for each"),
        ({"excluded_ids": [[1.7], []]}, r"excluded_ids \(positive or same text\) is a list of whole numbers for each"),
        ({"excluded_ids": [1.7, 2]}, "excluded_ids .* is a list of whole numbers"),
        ({"excluded_ids": {"linked": [[], np.array([2.0])]}}, r"excluded_ids \(linked\) is a list of whole numbers"),
        ({"excluded_ids": np.array([1.0, 2.0])}, "excluded_ids .* is a list of whole numbers"),
        ({"excluded_ids": [[1 << 64], []]}, "excluded_ids .* is a list of whole numbers"),
        ({"context": Context([1.5, 2.5])}, "row_keys is a list of whole numbers"),
        ({"context": Context(np.array([1.5, 2.5]))}, "row_keys is a list of whole numbers"),
        ({"positive_scores": [0.9, {}]}, "query 1 .* has no positive score"),
        ({"context": Context(corpus_size=-1)}, "corpus_size is -1; expected the number of passages"),
    ],
)
def test_lists_that_are_no_rankings_are_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        select_negatives(**{**GOOD, **change})


def test_filling_up_an_unknown_corpus_says_what_is_missing():
    scores, ids = [[0.9, 0.8]], [[4, 5]]
    assert kept(select_negatives(scores, ids, None, None, NegativeRule(0, 2, count=2)).ids) == [
        [4, 5]
    ]  # nothing is short
    with pytest.raises(ConfigError, match=r"pass Context\(corpus_size=...\), or on_short='fewer' or 'drop'"):
        select_negatives(scores, ids, [[4]], None, NegativeRule(0, 2, count=2))
