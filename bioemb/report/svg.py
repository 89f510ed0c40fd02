"""What a drawing needs to stand within the page: colours of the page's scheme, ids of its own, no fixed size.

A chart is drawn in stand-in colours, one for each role; here they become the page's variables, which its style sheet
sets for light and for dark.
"""

import re

from bioemb.report.markup import Html, element

ROLES = ("ink", "muted", "grid", "blue", "orange", "surface")
COLOURS = {role: f"#0a0b{number:02x}" for number, role in enumerate(ROLES, start=1)}
ROOT = re.compile(r"<svg [^>]*?(viewBox=\"[^\"]*\")[^>]*>")
DROPPED = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", re.DOTALL)
TAG = re.compile(r"<[^>]*>")  # matplotlib writes > in an attribute as &gt;
FONT = re.compile(r"font-family: [^;\"]*;? ?")  # the page has its own
NAMED = re.compile(r"(\bid=\"|href=\"#|url\(#)")
LONG_NUMBER = re.compile(r"(\d\.\d\d)\d+")
UNTURNED = re.compile(r' transform="rotate\(-0 [^"]*"')


def fit_into_page(svg: str, name: str, title: str) -> Html:
    """The drawing as an element of the page. name: unlike that of any other chart; title: for those who cannot see."""
    drawing = DROPPED.sub("", svg[svg.index("<svg ") :])
    root = ROOT.match(drawing)
    body = TAG.sub(lambda tag: _fit(tag[0], name), drawing[root.end() :])  # the words between tags stay as they are
    body = re.sub(r"\s*\n\s*", " ", body).strip()
    said = element("title", title)
    return Html(f'<svg class="chart" id="{name}" role="img" {root[1]}>{said}{body}')


def _fit(tag: str, name: str) -> str:
    """One tag with the page's colours and font, the chart's ids, and no more digits than can be seen."""
    tag = LONG_NUMBER.sub(r"\1", UNTURNED.sub("", FONT.sub("", tag)))
    tag = NAMED.sub(rf"\g<1>{name}-", tag.replace("xlink:href", "href"))
    for role, colour in COLOURS.items():
        tag = tag.replace(colour, f"var(--{role})")
    return re.sub(r"\s+", " ", tag)
