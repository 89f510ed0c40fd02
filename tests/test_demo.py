"""The demonstration's corpus and encoder: what they promise, read back from their files."""

import gzip
import hashlib
import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from lxml import etree

from bioemb.demo.articles import FIRST_PMID, FLAW_RATES, FULL_TEXT_RATE, SAME_NAME_RATE, STRUCTURED_RATE
from bioemb.demo.concepts import make_concepts
from bioemb.demo.corpus import write_corpus
from bioemb.demo.heldout import DOCUMENTS, QUERIES, STS_PAIRS
from bioemb.demo.heldout import SAME_NAME_RATE as HELD_OUT_SAME_NAME_RATE
from bioemb.demo.markup import Style, dress
from bioemb.demo.model import train_tokenizer, write_starting_encoder
from bioemb.encoder import Encoder
from bioemb.errors import ConfigError

RECORDS = 330  # divides neither by three files nor by the rates
# What PubMed's DTD says of the elements that the generator writes, in its order.
DTD = """
<!ELEMENT PubmedArticleSet (PubmedArticle)+>
<!ELEMENT PubmedArticle (MedlineCitation, PubmedData?)>
<!ELEMENT MedlineCitation (PMID, Article, MedlineJournalInfo, CommentsCorrectionsList?)>
<!ATTLIST MedlineCitation Owner CDATA "NLM" Status CDATA #REQUIRED>
<!ELEMENT PMID (#PCDATA)> <!ATTLIST PMID Version CDATA #REQUIRED>
<!ELEMENT Article (Journal, ArticleTitle, ELocationID+, Abstract?, Language+, PublicationTypeList, VernacularTitle?)>
<!ATTLIST Article PubModel CDATA #REQUIRED>
<!ELEMENT Journal (JournalIssue, Title?)>
<!ELEMENT JournalIssue (PubDate)> <!ATTLIST JournalIssue CitedMedium CDATA #REQUIRED>
<!ELEMENT PubDate (Year)> <!ELEMENT Year (#PCDATA)> <!ELEMENT Title (#PCDATA)>
<!ELEMENT ArticleTitle (#PCDATA | i | sub | sup)*>
<!ELEMENT i (#PCDATA | i | sub | sup)*> <!ELEMENT sub (#PCDATA)> <!ELEMENT sup (#PCDATA)>
<!ELEMENT ELocationID (#PCDATA)> <!ATTLIST ELocationID EIdType (doi | pii) #REQUIRED>
<!ELEMENT Abstract (AbstractText+)> <!ELEMENT AbstractText (#PCDATA | i | sub | sup)*>
<!ATTLIST AbstractText Label CDATA #IMPLIED
  NlmCategory (BACKGROUND | OBJECTIVE | METHODS | RESULTS | CONCLUSIONS | UNASSIGNED) #IMPLIED>
<!ELEMENT Language (#PCDATA)> <!ELEMENT PublicationTypeList (PublicationType+)>
<!ELEMENT PublicationType (#PCDATA)> <!ATTLIST PublicationType UI CDATA #REQUIRED>
<!ELEMENT VernacularTitle (#PCDATA)>
<!ELEMENT MedlineJournalInfo (MedlineTA)> <!ELEMENT MedlineTA (#PCDATA)>
<!ELEMENT CommentsCorrectionsList (CommentsCorrections+)>
<!ELEMENT CommentsCorrections (RefSource, PMID?)> <!ATTLIST CommentsCorrections RefType CDATA #REQUIRED>
<!ELEMENT RefSource (#PCDATA)>
<!ELEMENT PubmedData (PublicationStatus, ArticleIdList)> <!ELEMENT PublicationStatus (#PCDATA)>
<!ELEMENT ArticleIdList (ArticleId+)> <!ELEMENT ArticleId (#PCDATA)> <!ATTLIST ArticleId IdType CDATA #REQUIRED>
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, RECORDS, seed=3)
    return folder


@pytest.fixture(scope="module")
def records(folder) -> dict[int, dict]:
    """What the XML says of each PMID, read with lxml alone."""
    found = {}
    for path in sorted((folder / "pubmed").iterdir()):
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for element in etree.fromstring(raw):
            found[int(element.findtext("MedlineCitation/PMID"))] = {
                "title": "".join(element.find(".//ArticleTitle").itertext()),
                "abstract": ["".join(part.itertext()) for part in element.iter("AbstractText")],
                "labels": [part.get("Label") for part in element.iter("AbstractText")],
                "language": element.findtext(".//Language"),
                "types": [kind.text for kind in element.iter("PublicationType")],
                "journal": element.findtext(".//Journal/Title"),
                "links": [
                    (link.get("RefType"), int(link.findtext("PMID"))) for link in element.iter("CommentsCorrections")
                ],
            }
    return found


@pytest.fixture(scope="module")
def truth(folder) -> dict[int, dict]:
    return {line["pmid"]: line for line in read_lines(folder / "truth" / "records.jsonl")}


@pytest.fixture(scope="module")
def concept_of(folder) -> dict[str, str]:
    """Name, lower case -> concept."""
    concepts = read_lines(folder / "truth" / "concepts.jsonl")
    return {name.lower(): concept["concept_id"] for concept in concepts for name in concept["names"]}


@pytest.fixture(scope="module")
def names_in(concept_of):
    """A function from a text to the names that occur in it, longest match first."""
    pattern = re.compile(r"(?<!\w)(" + "|".join(map(re.escape, sorted(concept_of, key=len, reverse=True))) + r")(?!\w)")
    return lambda text: set(pattern.findall(text.lower()))


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def text_of(path: Path) -> str:
    raw = path.read_bytes()
    return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(folder, tmp_path):
    write_corpus(tmp_path / "again", RECORDS, seed=3)
    write_corpus(tmp_path / "other", RECORDS, seed=4)
    first, again, other = hashes(folder), hashes(tmp_path / "again"), hashes(tmp_path / "other")
    assert first == again
    same = {name for name in first.keys() & other.keys() if first[name] == other[name]}
    assert same == {"eval/demo-retrieval/qrels/test.tsv"}  # numbers only: which document answers which query


def test_pubmed_files_follow_the_order_of_pubmeds_elements(folder):
    from io import StringIO

    dtd = etree.DTD(StringIO(DTD))
    for path in sorted((folder / "pubmed").iterdir()):
        assert dtd.validate(etree.fromstring(text_of(path).encode())), dtd.error_log.filter_from_errors()


def test_every_record_is_there_once_in_the_reserved_range(records):
    assert list(records) == list(range(FIRST_PMID, FIRST_PMID + RECORDS))


def test_every_file_and_record_says_that_it_was_generated(folder, records):
    for path in [*(folder / "pubmed").iterdir(), *(folder / "pmc").iterdir()]:
        assert "Generated for a demonstration" in text_of(path)[:200]
    assert all(record["journal"].startswith("Generated Journal of ") for record in records.values())


def test_each_flaw_has_its_promised_share(records, truth):
    found = Counter(
        no_abstract=sum(not record["abstract"] for record in records.values()),
        not_english=sum(record["language"] != "eng" for record in records.values()),
        editorial=sum(record["types"] == ["Editorial"] for record in records.values()),
        retracted=sum("Retracted Publication" in record["types"] for record in records.values()),
        retraction_notice=sum("Retraction Notice" in record["types"] for record in records.values()),
        mislabelled=sum(line["title_concepts"] != line["abstract_concepts"] for line in truth.values()),
        near_duplicate=sum(line["flaw"] == "near_duplicate" for line in truth.values()),
    )
    assert found == {flaw: round(rate * RECORDS) for flaw, rate in FLAW_RATES.items()}
    assert sum(record["labels"][0] is not None for record in records.values() if record["abstract"]) == pytest.approx(
        STRUCTURED_RATE * RECORDS, rel=0.25
    )


def test_a_title_and_its_abstract_share_no_name_but_at_the_promised_rate(records, truth, names_in):
    flawless = [pmid for pmid, line in truth.items() if not line["flaw"]]
    sharing = {
        pmid for pmid in flawless if names_in(records[pmid]["title"]) & names_in(" ".join(records[pmid]["abstract"]))
    }
    assert sharing <= {pmid for pmid in flawless if truth[pmid]["same_name"]}
    assert 0 < len(sharing) <= SAME_NAME_RATE * RECORDS


def test_a_mislabelled_record_names_nothing_of_its_title(records, truth, names_in, concept_of):
    mislabelled = [pmid for pmid, line in truth.items() if line["flaw"] == "mislabelled"]
    for pmid in mislabelled:
        title, abstract = names_in(records[pmid]["title"]), names_in(" ".join(records[pmid]["abstract"]))
        assert title and abstract
        assert not {concept_of[name] for name in title} & {concept_of[name] for name in abstract}
    flawless = next(pmid for pmid, line in truth.items() if not line["flaw"])
    title, abstract = names_in(records[flawless]["title"]), names_in(" ".join(records[flawless]["abstract"]))
    assert {concept_of[name] for name in title} <= {concept_of[name] for name in abstract}


def test_a_near_duplicate_differs_in_its_last_sentence(records, truth):
    for pmid, line in truth.items():
        if line["flaw"] == "near_duplicate":
            ours, theirs = (" ".join(records[number]["abstract"]) for number in (pmid, line["partner"]))
            assert records[pmid]["title"] == records[line["partner"]]["title"]
            assert ours.split(". ")[:-1] == theirs.split(". ")[:-1]


def test_a_retraction_and_its_notice_point_at_each_other(records, truth):
    for pmid, line in truth.items():
        if line["flaw"] == "retracted":
            assert records[pmid]["links"] == [("RetractionIn", line["partner"])]
            assert records[line["partner"]]["links"] == [("RetractionOf", pmid)]
            assert records[line["partner"]]["title"] == f"Retraction: {records[pmid]['title']}"


def test_full_texts_belong_to_flawless_records_and_name_their_subject(folder, records, truth, names_in, concept_of):
    paths = sorted((folder / "pmc").iterdir())
    assert len(paths) == round(FULL_TEXT_RATE * RECORDS)
    for path in paths:
        article = etree.parse(path)
        pmid = int(article.findtext(".//article-id[@pub-id-type='pmid']"))
        assert truth[pmid]["flaw"] == ""
        assert "".join(article.find(".//article-title").itertext()) == records[pmid]["title"].removesuffix(".")
        disease = truth[pmid]["title_concepts"][0]
        for paragraph in article.iterfind("body/sec/p"):
            text = "".join(paragraph.itertext())
            assert len(text.split()) >= 50
            assert disease in {concept_of[name] for name in names_in(text)}


@pytest.mark.parametrize("seed", range(6))
def test_names_are_unique_and_none_is_within_another(seed):
    names = [name.lower() for concept in make_concepts(seed) for name in concept.names]
    assert len(set(names)) == len(names) > 500
    assert not any(a in b or b in a for a, b in combinations(names, 2))


def test_every_concept_has_two_to_four_names_with_no_stem_in_common():
    for concept in make_concepts(6):
        assert 2 <= len(concept.names) <= 4
        words = [set(re.findall(r"\w{4,}", name.lower())) for name in concept.names]
        assert not any(a & b for a, b in combinations(words, 2)), concept


def test_no_evaluation_article_is_among_the_training_records(folder, records, truth, names_in, concept_of):
    corpus = read_lines(folder / "eval" / "demo-retrieval" / "corpus.jsonl")
    queries = read_lines(folder / "eval" / "demo-retrieval" / "queries.jsonl")
    assert (len(corpus), len(queries)) == (DOCUMENTS, QUERIES)
    assert not {int(document["_id"]) for document in corpus} & records.keys()
    abstracts = {" ".join(record["abstract"]) for record in records.values()}
    titles = {record["title"].strip("[].").lower() for record in records.values()}
    assert not {document["text"] for document in corpus} & abstracts
    assert (
        not {row[key].lower() for row, key in [(d, "title") for d in corpus] + [(q, "text") for q in queries]} & titles
    )
    trained = {tuple(line["title_concepts"][:2]) for line in truth.values()}
    trained |= {tuple(line["abstract_concepts"][:2]) for line in truth.values()}
    asked = {tuple(sorted(concept_of[name] for name in names_in(query["text"]))) for query in queries}
    assert not asked & {tuple(sorted(pair)) for pair in trained}


def test_a_document_is_relevant_exactly_when_it_is_about_the_querys_concepts(folder, names_in, concept_of):
    corpus = read_lines(folder / "eval" / "demo-retrieval" / "corpus.jsonl")
    queries = read_lines(folder / "eval" / "demo-retrieval" / "queries.jsonl")
    rows = (folder / "eval" / "demo-retrieval" / "qrels" / "test.tsv").read_text().splitlines()
    assert rows[0] == "query-id\tcorpus-id\tscore"
    concepts = {d["_id"]: {concept_of[name] for name in names_in(d["title"] + " " + d["text"])} for d in corpus}
    wanted = {q["_id"]: {concept_of[name] for name in names_in(q["text"])} for q in queries}
    expected = {f"{q}\t{d}\t1" for q, ours in wanted.items() for d, theirs in concepts.items() if ours <= theirs}
    assert all(len(ours) == 2 for ours in wanted.values())
    assert set(rows[1:]) == expected
    assert {row.split("\t")[0] for row in rows[1:]} == set(wanted)


def test_relevant_documents_share_no_name_with_their_query_but_at_the_promised_rate(folder, names_in):
    base = folder / "eval" / "demo-retrieval"
    documents = {d["_id"]: names_in(d["title"] + " " + d["text"]) for d in read_lines(base / "corpus.jsonl")}
    queries = {q["_id"]: names_in(q["text"]) for q in read_lines(base / "queries.jsonl")}
    judged = [row.split("\t")[:2] for row in (base / "qrels" / "test.tsv").read_text().splitlines()[1:]]
    shares = [len(queries[query] & documents[document]) for query, document in judged]
    assert set(shares) == {0, 2}  # both names or none
    assert np.mean(np.array(shares) == 2) == pytest.approx(HELD_OUT_SAME_NAME_RATE, abs=0.04)


def test_sts_scores_count_the_concepts_in_common(folder, names_in, concept_of):
    pairs = read_lines(folder / "eval" / "demo-sts.jsonl")
    assert Counter(pair["score"] for pair in pairs) == dict.fromkeys((0.0, 1.0, 2.0, 3.0, 4.0), STS_PAIRS // 5)
    for pair in pairs:
        first, second = ({concept_of[n] for n in names_in(pair[key])} for key in ("sentence1", "sentence2"))
        specialties = {concept.split("-")[0] for concept in first | second}
        assert len(first) == len(second) == 3
        assert pair["score"] == (0 if len(specialties) == 2 else 1 + len(first & second))


def test_two_sentences_share_no_name_but_at_the_promised_rate(folder, names_in):
    pairs = read_lines(folder / "eval" / "demo-sts.jsonl")
    sharing = [bool(names_in(pair["sentence1"]) & names_in(pair["sentence2"])) for pair in pairs]
    assert not any(shares for shares, pair in zip(sharing, pairs, strict=True) if pair["score"] < 2)
    assert 0 < sum(sharing) < (HELD_OUT_SAME_NAME_RATE + 0.05) * sum(pair["score"] >= 2 for pair in pairs)


def test_markup_leaves_the_plain_text_alone():
    text = "ABCD1 & P < 0.05: CO2 at 10-9 mol; ABCD12 stays"
    dressed = dress(text, Style(italic=("ABCD1",), subscripts=True))
    assert dressed == ("<i>ABCD1</i> &amp; P &lt; 0.05: CO<sub>2</sub> at 10<sup>-9</sup> mol; ABCD12 stays")
    assert "".join(etree.fromstring(f"<t>{dressed}</t>").itertext()) == text


def test_a_corpus_too_small_for_its_flaws_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="records is 99"):
        write_corpus(tmp_path, 99)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def texts(records) -> list[str]:
    return [text for record in records.values() for text in (record["title"], " ".join(record["abstract"])) if text]


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory, texts) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    write_starting_encoder(folder, texts, seed=1, warm_up_steps=3)
    return folder


def test_the_encoder_folder_loads_in_transformers_with_the_same_vectors(encoder_folder, texts):
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(encoder_folder)
    model, report = AutoModel.from_pretrained(encoder_folder, output_loading_info=True)
    assert not report["missing_keys"]
    batch = tokenizer(texts[:5], padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state  # [5, t, d]
    rows = [hidden[row, : int(batch["attention_mask"][row].sum())].mean(0) for row in range(5)]
    expected = torch.nn.functional.normalize(torch.stack(rows), dim=-1).numpy()
    np.testing.assert_allclose(Encoder.from_pretrained(encoder_folder).encode(texts[:5]), expected, atol=1e-5)


def test_the_seed_decides_the_encoders_weights(encoder_folder, texts, tmp_path):
    state = torch.random.get_rng_state()
    write_starting_encoder(tmp_path / "again", texts, seed=1, warm_up_steps=3)
    write_starting_encoder(tmp_path / "other", texts, seed=2, warm_up_steps=3)
    first, again, other = (
        Encoder.from_pretrained(path).encode(texts[:7])
        for path in (encoder_folder, tmp_path / "again", tmp_path / "other")
    )
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 0.01
    assert torch.equal(state, torch.random.get_rng_state())  # the caller's random stream goes on undisturbed


def test_the_warm_up_brings_two_halves_of_a_text_together(texts, tmp_path, monkeypatch):
    monkeypatch.setattr("bioemb.demo.model.BATCH", 16)
    whole = [text.split() for text in texts if len(text.split()) > 60]
    halves = [[" ".join(words[:30]) for words in whole], [" ".join(words[30:]) for words in whole]]
    own_rank = []
    for steps in (0, 40):
        write_starting_encoder(tmp_path / str(steps), texts, seed=1, warm_up_steps=steps)
        encoder = Encoder.from_pretrained(tmp_path / str(steps))
        scores = encoder.encode(halves[0]) @ encoder.encode(halves[1]).T  # [n, n]
        own_rank.append(np.mean(scores > scores.diagonal()[:, None]))
    assert own_rank[1] < 0.5 * own_rank[0]


def test_a_warm_up_without_long_texts_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="none of the 2 texts has 64 tokens"):
        write_starting_encoder(tmp_path, ["a short title", "another one"], warm_up_steps=1)


def test_the_vocabulary_spells_what_it_was_trained_on(texts):
    tokenizer = train_tokenizer(texts)
    for text in texts[::40]:
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids[1:-1], clean_up_tokenization_spaces=False).replace(" ", "") == text.lower().replace(
            " ", ""
        )
