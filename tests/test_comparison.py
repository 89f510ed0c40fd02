"""Models compared: the paired bootstrap against naive loops, and the table that people read."""

import json
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import norm, spearmanr
from scipy.stats import t as student

from bioemb.errors import DataError
from bioemb.evaluation.bootstrap import expanded_tail, paired_interval, score_interval, weighted_spearman
from bioemb.evaluation.comparison import compare, interval_of
from bioemb.evaluation.scores import Part, TaskScore


def retrieval_score(scores, task="med", revision="r1", ids=None):
    ids = ids or tuple(f"q{number}" for number in range(len(scores)))
    return TaskScore(task, "ndcg_at_10", float(np.mean(scores)), revision, (Part("test/default", ids, scores),))


def sts_score(cosines, gold, task="BIOSSES"):
    part = Part("test/default", tuple(map(str, range(len(gold)))), cosines, gold)
    return TaskScore(task, "cosine_spearman", float(spearmanr(cosines, gold)[0]), "r1", (part,))


@pytest.mark.parametrize("seed", range(20))
def test_a_weighted_correlation_is_that_of_the_items_repeated(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(5, 40))
    x, y = rng.normal(size=size).round(1), rng.integers(0, 5, size=size).astype(float)  # ties on both sides
    weights = rng.multinomial(size, np.full(size, 1 / size), size=3)
    expected = [spearmanr(np.repeat(x, row), np.repeat(y, row))[0] for row in weights]
    np.testing.assert_allclose(weighted_spearman(x, y, weights), expected, atol=1e-12)


def test_the_interval_is_that_of_a_naive_loop_over_the_same_draws():
    rng = np.random.default_rng(3)
    gold, noise = rng.normal(size=30), rng.normal(size=(2, 30))
    first, second = gold + 2 * noise[0], gold + noise[1]
    means = rng.random((2, 17))
    found = paired_interval([first, means[0]], [second, means[1]], [gold, None], 200, np.random.default_rng(9))
    draws = np.random.default_rng(9)
    pairs = draws.multinomial(30, np.full(30, 1 / 30), size=200)
    queries = draws.multinomial(17, np.full(17, 1 / 17), size=200)
    naive = []
    for pair_row, query_row in zip(pairs, queries, strict=True):
        g = np.repeat(gold, pair_row)
        correlation = spearmanr(np.repeat(second, pair_row), g)[0] - spearmanr(np.repeat(first, pair_row), g)[0]
        mean = np.repeat(means[1], query_row).mean() - np.repeat(means[0], query_row).mean()
        naive.append((correlation + mean) / 2)
    np.testing.assert_allclose(found, np.quantile(naive, (0.025, 0.975)), atol=1e-12)


@pytest.mark.parametrize("sizes", [(2,), (10,), (30, 30), (7, 7, 7), (5, 40, 1)])
def test_the_tail_of_few_queries_is_that_of_hesterberg_and_welch(sizes):
    kept = [size for size in sizes if size > 1]
    variance = sum(1 / n for n in kept)  # of a mean over parts, in units of one query's variance and the parts' square
    resampled = sum((n - 1) / n / n for n in kept)
    freedom = variance**2 / sum(1 / n**2 / (n - 1) for n in kept)
    if len(set(kept)) == 1:
        n = kept[0]
        assert (variance / resampled, freedom) == pytest.approx((n / (n - 1), len(kept) * (n - 1)))
    expected = norm.cdf(-np.sqrt(variance / resampled) * student.ppf(0.975, freedom))
    assert expanded_tail(sizes) == pytest.approx(expected, rel=1e-9)
    assert expanded_tail([10**7]) == pytest.approx(0.025, rel=1e-4) and expanded_tail([1, 1]) == 0.025


@pytest.mark.parametrize("draw", [np.random.Generator.normal, np.random.Generator.exponential])
def test_intervals_of_few_queries_hold_the_truth_more_often_than_plain_percentiles(draw):
    truth, held, plain = float(draw is np.random.Generator.exponential), 0, 0
    for seed in range(400):
        values = draw(np.random.default_rng([10, seed]), size=10)
        low, high = score_interval([values], [None], 500, np.random.default_rng(seed))
        held += low <= truth <= high
        drawn = np.random.default_rng(seed + 1000).choice(values, (500, 10)).mean(1)
        plain += np.quantile(drawn, 0.025) <= truth <= np.quantile(drawn, 0.975)
    assert plain + 10 < held <= 390  # of 380


def test_the_interval_of_means_alone_is_that_of_a_naive_loop_over_the_same_draws():
    scores, draws = np.random.default_rng(3).random((2, 12)), np.random.default_rng(9)
    found = paired_interval([scores[0]], [scores[1]], [None], 200, np.random.default_rng(9))
    naive = [np.repeat(scores[1] - scores[0], row).mean() for row in draws.multinomial(12, np.full(12, 1 / 12), 200)]
    tail = norm.cdf(-np.sqrt(12 / 11) * student.ppf(0.975, 11))
    np.testing.assert_allclose(found, np.quantile(naive, (tail, 1 - tail)), atol=1e-12)


def test_the_interval_of_a_mean_is_the_normal_one_for_many_queries():
    rng = np.random.default_rng(0)
    before, after = rng.normal(0.5, 0.1, size=(2, 400))
    low, high = paired_interval([before], [after], [None], 4000, rng)
    difference = after - before
    expected = difference.mean() + np.array([-1.96, 1.96]) * difference.std() / np.sqrt(400)
    np.testing.assert_allclose((low, high), expected, atol=0.0015)


def test_the_interval_of_a_score_is_that_of_a_naive_loop_over_the_same_draws():
    rng = np.random.default_rng(6)
    gold, noise, means = rng.normal(size=30), rng.normal(size=30), rng.random(17)
    found = score_interval([gold + noise, means], [gold, None], 200, np.random.default_rng(9))
    draws = np.random.default_rng(9)
    pairs = draws.multinomial(30, np.full(30, 1 / 30), size=200)
    queries = draws.multinomial(17, np.full(17, 1 / 17), size=200)
    naive = []
    for pair_row, query_row in zip(pairs, queries, strict=True):
        correlation = spearmanr(np.repeat(gold + noise, pair_row), np.repeat(gold, pair_row))[0]
        naive.append((correlation + np.repeat(means, query_row).mean()) / 2)
    np.testing.assert_allclose(found, np.quantile(naive, (0.025, 0.975)), atol=1e-12)


def test_the_interval_of_a_correlation_of_a_hundred_pairs_is_fishers():
    """At r = .85 and 100 normal pairs Fisher's interval of Pearson's r is .78 to .90; a rank correlation's is wider."""
    rng = np.random.default_rng(0)
    gold = rng.normal(size=100)
    cosines = 0.87 * gold + np.sqrt(1 - 0.87**2) * rng.normal(size=100)
    score = sts_score(cosines, gold)
    low, high = interval_of(score)
    z, half = np.arctanh(score.score), 1.96 * np.sqrt((1 + score.score**2 / 2) / 97)  # Bonett and Wright, 2000
    np.testing.assert_allclose((low, high), np.tanh([z - half, z + half]), atol=0.02)
    assert interval_of(score) == (low, high) and interval_of(score._replace(parts=())) is None


def test_alike_models_are_told_apart_about_as_rarely_as_one_time_in_twenty():
    told = 0
    for seed in range(200):
        before, after = np.random.default_rng(seed).random((2, 60))
        low, high = paired_interval([before], [after], [None], 250, np.random.default_rng(seed))
        told += low > 0 or high < 0
    assert 2 <= told <= 22  # of 200; 10 expected


def test_identical_models_are_not_told_apart():
    rng = np.random.default_rng(1)
    queries, gold, cosines = rng.random(23), rng.random(40), rng.random(40)
    both = [retrieval_score(queries), sts_score(cosines, gold)]
    table = compare({"start": both, "trained": both})
    for task in ("med", "BIOSSES"):
        cell = table.cells["trained", task]
        assert (cell.difference, cell.interval, cell.verdict) == (0, (0, 0), "not told apart")


def test_a_shift_of_every_query_is_better_and_worse_by_just_that():
    scores = np.random.default_rng(2).random(31)
    table = compare(
        {
            "start": [retrieval_score(scores)],
            "up": [retrieval_score(scores + 0.125)],
            "down": [retrieval_score(scores - 0.25)],
        }
    )
    assert table.cells["up", "med"].verdict == "better" and table.cells["down", "med"].verdict == "worse"
    np.testing.assert_allclose(table.cells["up", "med"].interval, 0.125)
    np.testing.assert_allclose(table.cells["down", "med"].interval, -0.25)
    assert table.cells["start", "med"][1:3] == (None, None)


@pytest.mark.parametrize("count, word", [(2, "too few to tell"), (9, "too few to tell"), (10, "better")])
def test_no_word_is_said_of_a_difference_on_fewer_than_ten_items(count, word):
    scores, gold = np.random.default_rng(7).random((2, count))
    before = [retrieval_score(scores), sts_score(-gold, gold)]
    after = [retrieval_score(scores + 0.125), sts_score(gold, gold)]
    cells = compare({"start": before, "up": after}).cells
    assert (cells["up", "med"].verdict, cells["up", "BIOSSES"].verdict) == (word, word)


@pytest.mark.parametrize("sizes", [(1,) * 12, (1, 20), (9, 100), (10, 100)])
def test_no_word_is_said_where_a_part_has_fewer_than_ten_items(sizes):
    scores = [
        TaskScore("t", "ndcg_at_10", mean, "r", tuple(
            Part(f"test/{place}", tuple(map(str, range(size))), np.full(size, mean)) for place, size in enumerate(sizes)
        ))
        for mean in (0.4, 0.6)
    ]  # fmt: skip
    cell = compare({"start": scores[:1], "other": scores[1:]}).cells["other", "t"]
    assert cell.verdict == ("better" if min(sizes) == 10 else "too few to tell")


def test_correlations_of_parts_of_two_pairs_have_no_interval():
    gold, rng = np.array([0.0, 1.0]), np.random.default_rng(0)
    scores = [
        TaskScore("t", "cosine_spearman", 0.5, "r", tuple(
            Part(f"test/{part}", ("0", "1"), rng.random(2), gold) for part in range(30)
        ))
        for _ in range(2)
    ]  # fmt: skip
    table = compare({"start": scores[:1], "other": scores[1:]})
    assert table.cells["other", "t"].interval is None and interval_of(scores[0]) is None
    json.dumps(table.as_dict(), allow_nan=False)


def test_a_mean_that_rests_on_one_query_is_not_told_apart():
    before = np.zeros(20)
    after = np.eye(20)[0]
    assert (
        compare({"a": [retrieval_score(before)], "b": [retrieval_score(after)]}).cells["b", "med"].verdict
        == "not told apart"
    )


def test_another_model_or_task_beside_it_changes_no_interval():
    rng = np.random.default_rng(4)
    before, after, other = rng.random((3, 25))
    alone = compare({"start": [retrieval_score(before)], "trained": [retrieval_score(after)]})
    more = compare(
        {
            "start": [retrieval_score(other, "zebra"), retrieval_score(before)],
            "bm25": [retrieval_score(other)],
            "trained": [retrieval_score(before, "zebra"), retrieval_score(after)],
        }
    )
    assert alone.cells["trained", "med"] == more.cells["trained", "med"]
    assert (
        alone.cells["trained", "med"]
        != compare({"start": [retrieval_score(before)], "trained": [retrieval_score(after)]}, seed=1).cells[
            "trained", "med"
        ]
    )


def test_scores_on_other_data_are_not_compared():
    scores = np.random.default_rng(5).random(6)
    with pytest.raises(DataError, match="med: a was scored on data r1, b on r2"):
        compare({"a": [retrieval_score(scores)], "b": [retrieval_score(scores, revision="r2")]})
    with pytest.raises(DataError, match="med: a and b were scored on different queries"):
        compare({"a": [retrieval_score(scores)], "b": [retrieval_score(scores, ids=tuple("uvwxyz"))]})


def test_the_table_says_score_difference_interval_and_word_and_leaves_absent_scores_open():
    scores, gold = np.array([0.25, 0.5, 0.75]), np.array([1.0, 2.0, 4.0, 3.0])
    clustering = TaskScore("Medrxiv", "v_measure", 0.3, "r1")
    table = compare(
        {
            "start": [retrieval_score(scores), sts_score(gold, gold), clustering],
            "bm25": [retrieval_score(scores - 0.125)],
            "trained|x": [retrieval_score(scores + 0.0625), clustering._replace(score=0.34)],
        }
    )
    assert table.as_text().splitlines() == [
        "model      med                   BIOSSES          Medrxiv",
        "           ndcg_at_10            cosine_spearman  v_measure",
        "           3 queries             4 pairs",
        "start      50.0                  100.0            30.0",
        "bm25       37.5                  -                -",
        "           -12.5 [-12.5, -12.5]",
        "           too few to tell",
        "trained|x  56.2                  -                34.0",
        "           +6.2 [+6.2, +6.2]                      +4.0",
        "           too few to tell                        no interval",
    ]
    assert table.as_markdown().splitlines() == [
        "| model | med<br>ndcg_at_10<br>3 queries | BIOSSES<br>cosine_spearman<br>4 pairs | Medrxiv<br>v_measure |",
        "| --- | ---: | ---: | ---: |",
        "| start | 50.0 | 100.0 | 30.0 |",
        "| bm25 | 37.5<br>-12.5 [-12.5, -12.5]<br>too few to tell | - | - |",
        "| trained\\|x | 56.2<br>+6.2 [+6.2, +6.2]<br>too few to tell | - | 34.0<br>+4.0<br>no interval |",
    ]


def test_the_table_as_json_holds_fractions_of_one():
    scores = np.array([0.25, 0.5, 0.75])
    table = compare({"start": [retrieval_score(scores)], "bm25": [], "trained": [retrieval_score(scores + 0.125)]})
    record = json.loads(json.dumps(table.as_dict(), allow_nan=False))
    start, bm25, trained = record["tasks"][0]["models"]
    assert record["baseline"] == "start" and record["tasks"][0]["metric"] == "ndcg_at_10"
    assert record["tasks"][0]["items"] == 3 and table.columns[0].unit == "queries"
    assert (start["score"], start["difference"], bm25["score"]) == (0.5, None, None)
    assert (trained["score"], trained["difference"], trained["verdict"]) == (0.625, 0.125, "too few to tell")
    assert (trained["low"], trained["high"]) == pytest.approx((0.125, 0.125))


def test_items_are_counted_where_any_model_has_them():
    scores, gold = np.array([0.25, 0.5, 0.75]), np.array([1.0, 2.0, 4.0, 3.0])
    whole = retrieval_score(scores)
    double = whole._replace(parts=(*whole.parts, whole.parts[0]._replace(name="test/other")))
    clustering = TaskScore("Medrxiv", "v_measure", 0.3, "r1")
    table = compare({"a": [whole._replace(parts=()), clustering], "b": [double, sts_score(gold, gold), clustering]})
    found = {column["task"]: column["items"] for column in table.as_dict()["tasks"]}
    assert found == {"med": 6, "Medrxiv": None, "BIOSSES": 4}
    assert table.columns[0].lines() == ["med", "ndcg_at_10", "6 queries"]


def test_comparing_does_not_load_mteb():
    code = (
        "import sys; from bioemb.evaluation import compare, read_scores; print({'mteb', 'torch'} & sys.modules.keys())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
