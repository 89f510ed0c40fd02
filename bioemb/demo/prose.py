"""Titles, abstracts and body paragraphs about a subject, from templates, under the names that a voice allows.

A template's `{disease}`, `{agent}`, `{symptom}` become one of the voice's names, `{topic}` the specialty's ordinary
words, `{count}` and `{percent}` numbers.
"""

import re
from random import Random

from bioemb.demo.concepts import SPECIALTIES, Subject
from bioemb.records import AbstractPart, Section

Voice = dict[str, tuple[str, ...]]  # role -> the names that may be used for it

TITLES = {
    "drug": (
        "{agent} in {disease}: a randomised trial",
        "Effect of {agent} on {topic} in {disease}",
        "Treatment of {disease} with {agent} and its influence on {topic}",
        "Dose response to {agent} among adults with {disease}",
        "{agent} against {symptom} in {disease}",
        "Long-term safety of {agent} in {disease}",
    ),
    "gene": (
        "{agent} variants and the risk of {disease}",
        "Expression of {agent} in {disease} and its relation to {topic}",
        "Loss of {agent} alters {topic} in a model of {disease}",
        "{agent} as a marker of progression in {disease}",
        "Does {agent} explain {symptom} in {disease}?",
    ),
    "procedure": (
        "{agent} for {disease}: outcome after {percent} months",
        "Early against late {agent} in {disease}",
        "Recovery of {topic} after {agent} in {disease}",
        "{agent} in the care of {disease}: a cohort study",
        "Complications of {agent} among people with {disease} and {symptom}",
    ),
}
BACKGROUND = (
    "{disease} is a common cause of impaired {topic}, and its management is debated.",
    "Little is known about how {disease} disturbs {topic}.",
    "People with {disease} often report {symptom}, which limits daily life.",
    "Earlier reports linked {agent} to the course of {disease}.",
    "Whether {agent} matters in {disease} has remained uncertain.",
    "The burden of {disease} has grown over recent decades.",
)
METHODS = (
    "We followed {count} people with {disease} for {percent} weeks and measured {topic} at each visit.",
    "In this multicentre study, {count} participants were examined for {symptom} and {topic}.",
    "Records of {count} patients with {disease} were reviewed by two independent readers.",
    "Groups with and without {agent} were matched by age and sex ({count} in each group).",
    "We compared {topic} before and after exposure to {agent} using mixed models.",
    "Outcomes were assessed at baseline and after {percent} weeks with a validated scale.",
)
RESULTS = (
    "{agent} was associated with a change of {percent}% in {topic} (P < 0.0{digit}).",
    "{symptom} improved in {percent}% of the group with {agent}.",
    "The difference in {topic} between groups was {percent}% (95% confidence interval {digit} to {percent}).",
    "Among those with {disease}, {percent}% responded and {digit}% withdrew.",
    "No relation was found between age and {symptom}.",
    "Levels fell to 10-{digit} mol per litre, and CO2 exchange was unchanged.",
    "The effect of {agent} persisted after adjustment for sex and smoking.",
)
CONCLUSIONS = (
    "{agent} deserves further study in {disease}.",
    "These findings suggest a role of {agent} in {disease}.",
    "Our data support the use of {topic} to monitor {disease} under {agent}.",
    "Larger trials are needed to confirm the place of {agent} in {disease}.",
)
ABSTRACT_PARTS = {  # label: templates, sentences taken from them
    "BACKGROUND": (BACKGROUND, 2),
    "METHODS": (METHODS, 1),
    "RESULTS": (RESULTS, 2),
    "CONCLUSIONS": (CONCLUSIONS, 1),
}
BODY_PARTS = {
    "Introduction": BACKGROUND,
    "Methods": METHODS,
    "Results": RESULTS,
    "Discussion": CONCLUSIONS + BACKGROUND,
}
SENTENCES_PER_PARAGRAPH = 6
QUESTIONS = (
    "does {agent} change the course of {disease}",
    "{agent} and {disease}",
    "what is known of {agent} in people with {disease}",
    "{disease}: evidence on {agent}",
    "studies of {agent} for {disease} and {topic}",
)
STATEMENTS = (
    "{agent} was studied in {disease} with {symptom}.",
    "In {disease}, {symptom} depends on {agent}.",
    "{symptom} of {disease} and its response to {agent}.",
    "People with {symptom} due to {disease} were examined for {agent}.",
    "The link between {agent} and {symptom} in {disease} concerns {topic}.",
)
NUMBERS = {"count": (24, 960), "percent": (11, 89), "digit": (2, 9)}


def all_names(subject: Subject) -> Voice:
    """The voice that may use every name of the subject."""
    return {role: concept.names for role, concept in subject._asdict().items()}


def one_name_each(subject: Subject, random: Random) -> Voice:
    """The voice that keeps to one name of each of the subject's concepts."""
    return {role: (random.choice(names),) for role, names in all_names(subject).items()}


def other_names(subject: Subject, voice: Voice) -> Voice:
    """The voice of all the subject's names that `voice` does not use."""
    return {
        role: tuple(name for name in names if name not in voice[role]) for role, names in all_names(subject).items()
    }


def write_title(subject: Subject, voice: Voice, random: Random) -> str:
    """A title without its full stop; it names disease and agent."""
    return fill(random.choice(TITLES[subject.agent.kind]), subject.disease.specialty, voice, random)


def write_abstract(subject: Subject, voice: Voice, random: Random) -> tuple[AbstractPart, ...]:
    """Four labelled parts, six sentences in all; disease and agent are both named."""
    parts = (
        (label, write_paragraph(subject, voice, templates, count, random))
        for label, (templates, count) in ABSTRACT_PARTS.items()
    )
    return tuple(AbstractPart(label, text) for label, text in parts)


def write_paragraph(subject: Subject, voice: Voice, templates: tuple[str, ...], sentences: int, random: Random) -> str:
    """So many different sentences from the templates."""
    chosen = random.sample(templates, sentences)
    return " ".join(fill(template, subject.disease.specialty, voice, random) for template in chosen)


def write_body(subject: Subject, voice: Voice, random: Random) -> tuple[Section, ...]:
    """Four sections of one paragraph each."""
    return tuple(
        Section((heading,), "", (write_paragraph(subject, voice, templates, SENTENCES_PER_PARAGRAPH, random),))
        for heading, templates in BODY_PARTS.items()
    )


def fill(template: str, specialty: str, voice: Voice, random: Random) -> str:
    """The template with every `{...}` replaced, its first letter a capital."""

    def value(match: re.Match) -> str:
        role = match[1]
        if role in voice:
            return random.choice(voice[role])
        if role == "topic":
            return random.choice(SPECIALTIES[specialty])
        return str(random.randint(*NUMBERS[role]))

    text = re.sub(r"\{(\w+)\}", value, template)
    return text[0].upper() + text[1:]
