"""The generated records: a title under one name of each concept, an abstract under others, and known flaws."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from bioemb.demo.concepts import Concept, Subject, random_for, subject_pairs, symptoms_by_specialty
from bioemb.demo.markup import Style
from bioemb.demo.prose import all_names, one_name_each, other_names, write_abstract, write_body, write_title
from bioemb.records import Article

FIRST_PMID = 900_000_001  # far above PubMed's; a record's PMCID has the same number
FLAW_RATES = {  # share of the records; a record has one flaw or none
    "no_abstract": 0.08,
    "not_english": 0.05,
    "editorial": 0.02,
    "retracted": 0.01,
    "retraction_notice": 0.01,  # one for each retracted record
    "mislabelled": 0.06,  # its abstract belongs to another specialty: what a consistency filter should find
    "near_duplicate": 0.03,  # another record's title and abstract, but for the last sentence
}
STRUCTURED_RATE = 0.30
MARKUP_RATE = 0.40
FULL_TEXT_RATE = 0.06  # of all records; only flawless ones have a full text
SAME_NAME_RATE = 0.15  # abstracts that may repeat their title's names; the others never do
VERNACULAR = {"ger": "Erzeugter Titel", "fre": "Titre fabriqué", "spa": "Título generado"}


@dataclass(frozen=True)
class Record:
    """A generated article and the truth about it; only `article` and `style` go into the XML."""

    article: Article
    style: Style
    subject: Subject
    abstract_subject: Subject  # another one when the record is mislabelled
    same_name: bool = False  # whether the abstract may repeat the title's names
    flaw: str = ""  # a key of FLAW_RATES, or none
    partner: int | None = None  # PMID of the record that this one repeats, retracts or is retracted by


def make_records(concepts: list[Concept], count: int, seed: int) -> list[Record]:
    """So many records; exactly the promised share of each flaw, spread among them by the seed."""
    flaws = assign_flaws(count, seed)
    flawless = [number for number, flaw in enumerate(flaws) if not flaw]
    chosen = {
        what: choose(rate, numbers, seed, what, of=count)
        for what, rate, numbers in (
            ("full_text", FULL_TEXT_RATE, flawless),
            ("structured", STRUCTURED_RATE, range(count)),
            ("marked_up", MARKUP_RATE, range(count)),
            ("same_name", SAME_NAME_RATE, range(count)),
        )
    }
    pairs, symptoms = subject_pairs(concepts, seed, held_out=False), symptoms_by_specialty(concepts)
    plain = []
    for number in range(count):
        random = random_for(seed, "subject", number)
        disease, agent = random.choice(pairs)
        subject = Subject(disease, agent, random.choice(symptoms[disease.specialty]))
        traits = {what for what, numbers in chosen.items() if number in numbers}
        plain.append(write_record(number, subject, traits, random_for(seed, "record", number)))
    partners = assign_partners(plain, flaws, seed)
    return [
        ALTER[flaw](record, plain[partners.get(number, number)], random_for(seed, "flaw", number)) if flaw else record
        for number, (record, flaw) in enumerate(zip(plain, flaws, strict=True))
    ]


def write_record(number: int, subject: Subject, traits: set[str], random: Random) -> Record:
    """A flawless record. traits: any of full_text, structured, marked_up, same_name."""
    title_voice = one_name_each(subject, random)
    voice = all_names(subject) if "same_name" in traits else other_names(subject, title_voice)
    title = write_title(subject, title_voice, random)
    pmid, full_text = FIRST_PMID + number, "full_text" in traits
    article = Article(
        article_id=f"pmid:{pmid}",
        title=title if title.endswith("?") else f"{title}.",
        abstract=write_abstract(subject, voice, random),
        sections=write_body(subject, voice, random) if full_text else (),
        pmid=pmid,
        pmcid=f"PMC{pmid}" if full_text else "",
        language="eng",
        year=random.randint(1990, 2025),
        journal=f"Generated Journal of {subject.disease.specialty.capitalize()} Medicine",
        publication_types=("Journal Article",),
    )
    marked_up = "marked_up" in traits
    italic = subject.agent.names if marked_up and subject.agent.kind == "gene" else ()
    style = Style(italic=italic, structured="structured" in traits, subscripts=marked_up)
    return Record(article, style, subject, subject, same_name="same_name" in traits)


def assign_flaws(count: int, seed: int) -> list[str]:
    """The flaw of each record, "" for most."""
    flaws = [flaw for flaw, rate in FLAW_RATES.items() for _ in range(round(rate * count))]
    flaws += [""] * (count - len(flaws))
    random_for(seed, "flaws").shuffle(flaws)
    return flaws


def assign_partners(plain: Sequence[Record], flaws: Sequence[str], seed: int) -> dict[int, int]:
    """For each record whose flaw involves another one, the number of that one."""
    numbers = {flaw: [n for n, own in enumerate(flaws) if own == flaw] for flaw in ("", *FLAW_RATES)}
    partners = dict(zip(numbers["retracted"], numbers["retraction_notice"], strict=True))
    partners |= {notice: retracted for retracted, notice in partners.items()}
    for number in numbers["near_duplicate"]:
        partners[number] = random_for(seed, "partner", number).choice(numbers[""])
    for number in numbers["mislabelled"]:
        specialty = plain[number].subject.disease.specialty
        others = [n for n in numbers[""] if plain[n].subject.disease.specialty != specialty]
        partners[number] = random_for(seed, "partner", number).choice(others)
    return partners


def choose(rate: float, numbers: Sequence[int], seed: int, what: str, *, of: int) -> set[int]:
    """A share `rate` of `of`, drawn from the numbers."""
    return set(random_for(seed, what).sample(list(numbers), round(rate * of)))


def _change(record: Record, flaw: str, partner: Record | None = None, **changes) -> Record:
    pmid = None if partner is None else partner.article.pmid
    return replace(record, article=replace(record.article, **changes), flaw=flaw, partner=pmid)


def _no_abstract(record: Record, partner: Record, random: Random) -> Record:
    return _change(record, "no_abstract", abstract=())


def _not_english(record: Record, partner: Record, random: Random) -> Record:
    language = random.choice(sorted(VERNACULAR))
    vernacular = f"{VERNACULAR[language]} {record.article.pmid}."
    return _change(record, "not_english", language=language, vernacular_title=vernacular)


def _editorial(record: Record, partner: Record, random: Random) -> Record:
    title = f"Editorial: {record.article.title}"
    return _change(record, "editorial", title=title, publication_types=("Editorial",))


def _retracted(record: Record, partner: Record, random: Random) -> Record:
    types = (*record.article.publication_types, "Retracted Publication")
    links = (("RetractionIn", partner.article.pmid),)
    return _change(record, "retracted", partner, publication_types=types, links=links)


def _retraction_notice(record: Record, partner: Record, random: Random) -> Record:
    own = partner.article  # a notice repeats the whole record that it withdraws, as some of PubMed's do
    return _change(
        replace(partner, article=record.article),
        "retraction_notice",
        partner,
        title=f"Retraction: {own.title}",
        abstract=own.abstract,
        publication_types=("Retraction Notice",),
        links=(("RetractionOf", own.pmid),),
    )


def _mislabelled(record: Record, partner: Record, random: Random) -> Record:
    abstract = write_abstract(partner.subject, all_names(partner.subject), random)
    return _change(replace(record, abstract_subject=partner.subject), "mislabelled", partner, abstract=abstract)


def _near_duplicate(record: Record, partner: Record, random: Random) -> Record:
    last = write_abstract(partner.subject, all_names(partner.subject), random)[-1]
    abstract = (*partner.article.abstract[:-1], last)
    copy = replace(partner, article=record.article, style=record.style)
    return _change(copy, "near_duplicate", partner, title=partner.article.title, abstract=abstract)


ALTER = {
    "no_abstract": _no_abstract,
    "not_english": _not_english,
    "editorial": _editorial,
    "retracted": _retracted,
    "retraction_notice": _retraction_notice,
    "mislabelled": _mislabelled,
    "near_duplicate": _near_duplicate,
}
