"""Identifiers and codes, normalised so that PubMed's and PMC's copy of an article agree."""

import re

PMID_DIGITS = 10  # PMIDs have 8 today
PMCID = re.compile(r"(?:pmc)?\s*(\d+)(?:\.\d+)?\Z", re.IGNORECASE)
DOI = re.compile(r"(?:https?://(?:dx\.)?doi\.org/|doi:\s*)?(10\.\S+)\Z", re.IGNORECASE)

LANGUAGES = dict(  # ISO 639-1 as PMC has it -> the three letters that PubMed has
    pair.split(":")
    for pair in """
    ar:ara bg:bul bs:bos ca:cat cs:cze da:dan de:ger el:gre en:eng es:spa et:est eu:baq fa:per fi:fin fr:fre he:heb
    hr:hrv hu:hun id:ind it:ita ja:jpn ko:kor lt:lit lv:lav ms:may nb:nor nl:dut no:nor pl:pol pt:por ro:rum ru:rus
    sk:slo sl:slv sr:srp sv:swe th:tha tr:tur uk:ukr zh:chi fra:fre deu:ger zho:chi nld:dut ces:cze
    """.split()  # noqa: SIM905 (a list of quoted words is harder to read)
)
LANGUAGES |= {"und": "", "xxx": "", "zxx": ""}  # undetermined, or no language


def clean_language(code: str) -> str:
    """A language as PubMed's three letters in lower case ("EN", "en-US", "ENG" -> "eng"), "" when undetermined."""
    code = code.strip().lower().replace("_", "-").partition("-")[0]
    return LANGUAGES.get(code, code)


def clean_pmid(text: str) -> int | None:
    """A PMID as a number, None for anything else."""
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) <= PMID_DIGITS):
        return None
    return int(text) or None


def clean_pmcid(text: str) -> str:
    """A PMCID as "PMC123" without its version, "" for anything else."""
    match = PMCID.match(text.strip())
    return f"PMC{int(match[1])}" if match else ""


def clean_doi(text: str) -> str:
    """A DOI in lower case without resolver or prefix, "" for anything else."""
    match = DOI.match(text.strip())
    return match[1].lower() if match else ""


def article_id(pmid: int | None, pmcid: str, doi: str) -> str:
    """The best known name of an article: "pmid:1", else "pmc:PMC2", else "doi:10.3/x"; "" when it has none."""
    if pmid is not None:
        return f"pmid:{pmid}"
    if pmcid:
        return f"pmc:{pmcid}"
    return f"doi:{doi}" if doi else ""
