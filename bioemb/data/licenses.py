"""Licences of full texts under the names that PMC uses: CC0, CC BY, CC BY-NC-ND, ...; "" when nothing says.

TDM, text and data mining only, is said in PMC's metadata, never in a full text.
"""

import re

LICENSES = (
    *("CC0", "CC BY", "CC BY-SA", "CC BY-ND", "CC BY-NC", "CC BY-NC-SA", "CC BY-NC-ND"),
    *("Public domain", "TDM"),
)
DEED = re.compile(r"creativecommons\.org/licen[cs]es/(by(?:-(?:nc|nd|sa))*)", re.IGNORECASE)
ZERO = re.compile(r"creativecommons\.org/publicdomain/zero|\bCC[ -]?0\b|creative commons (?:CC0|zero)", re.IGNORECASE)
CODE = re.compile(r"\bCC[ -](BY(?:[ -](?:NC|ND|SA))*)\b", re.IGNORECASE)
NAME = re.compile(r"creative\s+commons\s+(?:public\s+)?attribution(.{0,60})", re.IGNORECASE | re.DOTALL)
PUBLIC_DOMAIN = re.compile(r"free of all copyright|(?:in|to) the public domain|public domain dedication", re.IGNORECASE)
TERMS = (("NC", r"non-?\s?commercial"), ("SA", r"share-?\s?alike"), ("ND", r"no-?\s?deriv"))


def license_name(*statements: str) -> str:
    """The licence that addresses or sentences speak of; put the surest first.

    "Public domain" is said where no deed is named; an unknown licence is "", never a guess.
    """
    for statement in statements:
        name = _from_deed(statement) or _from_words(statement)
        if name:
            return name
    return ""


def _from_deed(statement: str) -> str:
    deed = DEED.search(statement) or CODE.search(statement)
    if deed:
        parts = re.split(r"[ -]", deed[1].upper())
        return "CC BY" + "".join(f"-{term}" for term in ("NC", "SA", "ND") if term in parts)
    return "CC0" if ZERO.search(statement) else ""


def _from_words(statement: str) -> str:
    named = NAME.search(statement)
    if named:
        first = re.split(r"licen[cs]e|[.,;]", named[1], maxsplit=1, flags=re.IGNORECASE)[0]
        return "CC BY" + "".join(f"-{term}" for term, words in TERMS if re.search(words, first, re.IGNORECASE))
    return "Public domain" if PUBLIC_DOMAIN.search(statement) else ""
