"""What the pure functions on strings do, and above all what they leave alone."""

import sys

import pytest

from bioemb.data.ids import article_id, clean_doi, clean_language, clean_pmcid, clean_pmid
from bioemb.data.text import (
    INVISIBLE,
    clean_title,
    collapse,
    is_notice,
    says_retracted,
    split_sentences,
    strip_copyright,
    strip_doi,
    strip_truncation,
)


def test_collapse_knows_every_space_of_unicode():
    spaces = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()]
    assert len(spaces) > 20
    for space in spaces:
        for text in (f"{space}alpha{space}{space}β beta{space}", f"{space}a{space}{space}b b{space}"):
            words = text.replace(space, " ").split()
            assert collapse(text) == " ".join(words), hex(ord(space))


def test_collapse_removes_what_cannot_be_seen_and_keeps_what_can():
    assert collapse(f"al{INVISIBLE}pha") == "alpha"
    assert collapse("P<0.001 & α≥3 – 5 °C") == "P<0.001 & α≥3 – 5 °C"


COPYRIGHT_TAILS = [
    "© 2019 Elsevier Ltd. All rights reserved.",
    "Copyright © 2021 Elsevier B.V. All rights reserved.",
    "Copyright 2001 Academic Press.",
    "Copyright (C) 2000 John Wiley & Sons, Ltd.",
    "(c) 2003 Wiley-Liss, Inc.",
    "©2015 AACR.",
    "© The Author(s) 2016.",
    "This article is protected by copyright. All rights reserved.",
    "(PsycINFO Database Record (c) 2012 APA, all rights reserved).",
    "Published by Elsevier Inc.",
    "© 2022 The Authors. Some Journal published by Some House on behalf of Some Society.",
]


@pytest.mark.parametrize("tail", COPYRIGHT_TAILS)
@pytest.mark.parametrize("beginning", ["Cells grew (p = 0.03).", "Is growth faster?", "J Mouse Res 2018;126:122-8."])
def test_a_copyright_notice_at_the_end_goes_and_the_rest_stays(beginning: str, tail: str):
    assert strip_copyright(f"{beginning} {tail}") == beginning
    long = "A sentence about mice. " * 60
    assert strip_copyright(f"{long}{beginning} {tail}") == f"{long}{beginning}"


@pytest.mark.parametrize(
    "text",
    [
        "We review copyright law and its effect on data sharing in 2019.",
        "The sign © was shown to 20 volunteers.",
        "Groups were (a) 1990-1995, (b) 1996-2000, and (c) 2001-2005 births.",
        "Mice were (a) fed; (b) fasted; (c) 2001 mg was given.",
        "All rights of the patient were reserved by the committee.",
        "Published by hand, the survey reached 40 homes.",
        "© 2019 Elsevier. " + "But then four hundred characters of text follow here. " * 12,
    ],
)
def test_words_that_only_resemble_a_copyright_notice_stay(text: str):
    assert strip_copyright(text) == text


def test_an_address_of_its_own_at_the_end_goes():
    assert strip_doi("They swim. DOI: http://dx.doi.org/10.7554/eLife.00013.001") == "They swim."
    assert strip_doi("They swim. DOI: 10.7554/eLife.00013.001") == "They swim."
    for text in ("The data are at 10.5061/dryad.1.", "A DOI: 10.1/x is given for each of 12 otters"):
        assert strip_doi(text) == text


def test_a_truncation_note_is_stripped_and_told():
    for note in ("(ABSTRACT TRUNCATED AT 250 WORDS)", "(ABSTRACT TRUNCATED AT 400 WORDS)", "(ABSTRACT TRUNCATED)"):
        assert strip_truncation(f"p = 0.05).{note}") == ("p = 0.05).", True)
        assert strip_truncation(f"The end. {note}") == ("The end.", True)
    for text in ("A TRUNCATED protein.", "(ABSTRACT TRUNCATED AT 250 WORDS) came first, then text"):
        assert strip_truncation(text) == (text, False)


@pytest.mark.parametrize(
    ("raw", "text", "is_translated"),
    [
        ("[The liver of the otter].", "The liver of the otter.", True),
        ("[Does the otter sleep?].", "Does the otter sleep?", True),
        ("[The liver of the otter]", "The liver of the otter", True),
        ("[Use of [18F]FDG in otters (author's transl)].", "Use of [18F]FDG in otters.", True),
        ("[18F]FDG uptake in otters.", "[18F]FDG uptake in otters.", False),
        ("[18F]FDG or [11C]PiB", "[18F]FDG or [11C]PiB", False),
        ("Otters [corrected] and their [corrected] liver.", "Otters and their liver.", False),
        ("[Not Available].", "", False),
        ("[Not Available]", "", False),
        ("[In Process Citation]", "", False),
        ("Not Available.", "", False),
        ("Availability of otters", "Availability of otters", False),
        ("", "", False),
        ("[unbalanced.", "[unbalanced.", False),
    ],
)
def test_titles_lose_only_what_the_library_put_around_them(raw: str, text: str, is_translated: bool):
    assert clean_title(raw) == (text, is_translated)


@pytest.mark.parametrize(
    "title",
    [
        "Retraction: Otters fly.",
        "Publisher Correction: Otters swim",
        "Correction to: Otters swim.",
        "Erratum.",
        "[Erratum to: Otters swim].",
        "Corrigendum: Otters swim",
        "Reply to Smith and Jones.",
        "Response to: Otters swim.",
        "Expression of Concern: Otters fly",
        "Withdrawal notice: otters",
    ],
)
def test_notices_are_told_by_their_titles(title: str):
    assert is_notice(title)


@pytest.mark.parametrize(
    "title",
    [
        "Correction of fragile X syndrome in mice.",
        "Retraction of the eyelid after surgery.",
        "Withdrawal of antiepileptic drugs in children.",
        "Response to treatment in otters.",
        "Corrections officers and their health.",
        "Reply patterns in otter calls",
        "Comment on style",
    ],
)
def test_research_with_a_notices_words_is_no_notice(title: str):
    assert not is_notice(title)
    assert not says_retracted(title)


def test_a_notice_may_be_told_by_its_abstract_and_a_retraction_by_a_mark():
    assert is_notice("Otters swim", "[This corrects the article DOI: 10.1/x.]")
    assert not is_notice("Otters swim", "This correction factor is small.")
    assert says_retracted("RETRACTED: Otters fly") and says_retracted("RETRACTED ARTICLE: Otters fly")
    assert not says_retracted("Retracted and protruded tongues of otters")


def test_sentences_split_where_they_end():
    sentences = [
        "We saw E. coli (Smith et al. 2003).",
        "It grew faster, i.e. Twice as fast, vs. Controls.",
        "Growth is shown in Fig. 3.",
        "P was 0.05!",
        '"Was it?"',
        "(It was.)",
        "12 mice died of J. Doe's strain",
    ]
    assert split_sentences(" ".join(sentences)) == sentences
    assert split_sentences("") == []


def test_sentences_joined_are_the_text_again():
    text = collapse("A b. C d? (E f. G.) H. I. Jones et al. K l... M.n. O. " * 7)
    assert " ".join(split_sentences(text)) == text


def test_identifiers_of_one_article_agree_however_they_are_written():
    assert {clean_doi(doi) for doi in ("10.1/AbC", "doi:10.1/abc", "https://doi.org/10.1/ABC", " 10.1/abc ")} == {
        "10.1/abc"
    }
    assert {clean_pmcid(pmcid) for pmcid in ("PMC12", "12", "pmc12", "PMC12.2")} == {"PMC12"}
    assert {clean_language(code) for code in ("en", "EN", "eng", "ENG", "en-US", " en_GB ")} == {"eng"}
    assert [clean_pmid(text) for text in (" 12 ", "012", "0", "x", "", "1.5", "²", "9" * 40)] == [12, 12] + [None] * 6
    assert clean_doi("not a doi") == clean_pmcid("PMCx") == clean_language("und") == ""
    assert article_id(5, "PMC7", "10.1/x") == "pmid:5"
    assert article_id(None, "PMC7", "10.1/x") == "pmc:PMC7"
    assert article_id(None, "", "10.1/x") == "doi:10.1/x"
    assert article_id(None, "", "") == ""
