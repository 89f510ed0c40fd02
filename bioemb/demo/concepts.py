"""Invented biomedical concepts, each with two to four names that share no stem: the demonstration's known synonyms.

A stem is drawn once and never again, so no name is part of another concept's name. Nothing here names a real
disease, drug, gene or person, except by an accident of syllables.
"""

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from bioemb.records import stable_hash

SPECIALTIES = {  # ordinary words that an article's title and abstract may share, without naming its subject
    "cardiac": ("arterial pressure", "cardiac output", "ventricular filling", "coronary flow", "heart rate"),
    "dermal": ("skin barrier function", "epidermal thickness", "wound closure", "sweat secretion", "scar texture"),
    "endocrine": ("fasting glucose", "thyroid volume", "cortisol rhythm", "insulin response", "growth velocity"),
    "gastric": ("gastric emptying", "mucosal healing", "bowel transit", "bile acid output", "appetite scores"),
    "haematological": ("platelet counts", "clotting time", "marrow cellularity", "iron stores", "red cell mass"),
    "hepatic": ("liver stiffness", "portal flow", "bilirubin clearance", "hepatic fat content", "albumin synthesis"),
    "immune": ("antibody titres", "lymphocyte counts", "complement activity", "cytokine release", "spleen size"),
    "neural": ("nerve conduction", "working memory", "seizure frequency", "gait stability", "cortical activity"),
    "ocular": ("visual acuity", "corneal thickness", "retinal perfusion", "tear production", "lens clarity"),
    "pulmonary": ("airway resistance", "lung volume", "oxygen saturation", "cough frequency", "alveolar fluid"),
    "renal": ("urine output", "glomerular filtration", "tubular transport", "potassium balance", "kidney length"),
    "skeletal": ("bone density", "joint mobility", "muscle strength", "fracture repair", "cartilage volume"),
}
CONCEPTS_PER_SPECIALTY = {"disease": 6, "drug": 4, "gene": 3, "symptom": 3, "procedure": 2}
AGENTS = ("drug", "gene", "procedure")  # what an article studies in a disease
HELD_OUT_SHARE = 1 / 3  # of the (disease, agent) pairs: never the subject of a training record

NAME_STYLES = {  # kind: styles of name; a concept has one name in each of two to four of them
    "disease": ("{Stem} disease", "{stem}osis", "{CODE}", "{stem} sickness"),
    "drug": ("{stem}oquel", "{CODE}-{number}", "methyl{stem}idone", "{Stem}zyn"),
    "gene": ("{CODE}{digit}", "{stem}in kinase", "p{number}-{stem}", "{stem} receptor"),
    "symptom": ("dys{stem}ia", "{stem} shivers", "the sign of {Stem}", "{stem} ache"),
    "procedure": ("the {Stem} operation", "{stem}ectomy", "{CODE}", "{stem} bypass"),
}
SYLLABLES = (  # a stem takes one of each, in this order: "trumivask"
    "b br d dr f fl g gl j k kr l m n p pl qu r s sk t tr v z".split(),
    "a e i o u ei au".split(),
    "b d f g k l lm lv m n nd nt p r rk rv s sk t v x z".split(),
    "a e i o u ei".split(),
    "l lm lv m n nd r rk rv sk st x z zm".split(),
)
CODE_LETTERS = "BDGJKQRTVWXZ"


class Concept(NamedTuple):
    """One invented thing and every name it goes by."""

    concept_id: str  # "cardiac-disease-3"
    kind: str  # a key of NAME_STYLES
    specialty: str  # a key of SPECIALTIES
    names: tuple[str, ...]


class Subject(NamedTuple):
    """What an article is about: an agent in a disease, with a symptom beside it."""

    disease: Concept
    agent: Concept
    symptom: Concept


def random_for(seed: int, *what: object) -> Random:
    """A random stream that depends on the seed and on what it is for, and on nothing that was drawn before."""
    return Random(stable_hash("/".join(map(str, (seed, *what)))))


def make_concepts(seed: int) -> list[Concept]:
    """The synonym table: every specialty's concepts, names unique across all of them."""
    stems, codes = _stems(random_for(seed, "stems")), _codes(random_for(seed, "codes"))
    concepts = []
    for specialty in SPECIALTIES:
        for kind, count in CONCEPTS_PER_SPECIALTY.items():
            for number in range(1, count + 1):
                concept_id = f"{specialty}-{kind}-{number}"
                random = random_for(seed, concept_id)
                styles = random.sample(NAME_STYLES[kind], random.choice((2, 3, 3, 4)))
                names = tuple(_name(style, next(stems), next(codes), random) for style in styles)
                concepts.append(Concept(concept_id, kind, specialty, names))
    return concepts


def subject_pairs(concepts: list[Concept], seed: int, *, held_out: bool) -> list[tuple[Concept, Concept]]:
    """The (disease, agent) pairs of one specialty, shuffled: those of the training records, or those kept from them."""
    diseases = [concept for concept in concepts if concept.kind == "disease"]
    agents = [concept for concept in concepts if concept.kind in AGENTS]
    pairs = [(disease, agent) for disease in diseases for agent in agents if disease.specialty == agent.specialty]
    random_for(seed, "pairs").shuffle(pairs)
    first_trained = round(HELD_OUT_SHARE * len(pairs))
    return pairs[:first_trained] if held_out else pairs[first_trained:]


def symptoms_by_specialty(concepts: list[Concept]) -> dict[str, list[Concept]]:
    """The symptoms that an article of each specialty may mention."""
    return {
        specialty: [concept for concept in concepts if (concept.kind, concept.specialty) == ("symptom", specialty)]
        for specialty in SPECIALTIES
    }


def _name(style: str, stem: str, code: str, random: Random) -> str:
    return style.format(
        stem=stem, Stem=stem.capitalize(), CODE=code, digit=random.randint(1, 9), number=random.randint(11, 98)
    )


def _stems(random: Random) -> Iterator[str]:
    """Two-syllable stems; none twice, none at the start of another."""
    seen: set[str] = set()
    while True:
        stem = "".join(random.choice(part) for part in SYLLABLES)
        if not any(stem.startswith(other) or other.startswith(stem) for other in seen):
            seen.add(stem)
            yield stem


def _codes(random: Random) -> Iterator[str]:
    """Abbreviations of four different letters; none twice."""
    seen: set[str] = set()
    while True:
        code = "".join(random.sample(CODE_LETTERS, 4))
        if code not in seen:
            seen.add(code)
            yield code
