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
FONT = re.compile(r"font-family: [^;\"]*;? ?")  # the page's own
NAMED = re.compile(r"(\bid=\"|href=\"#|url\(#)")
LONG_NUMBER = re.compile(r"(\d\.\d\d)\d+")
UNTURNED = re.compile(r' transform="rotate\(-0 [^"]*"')


def fit_into_page(svg: str, name: str, title: str) -> Html:
    """The drawing as an element of the page. name: unlike that of any other chart; title: for those who cannot see."""
    _, root, body = svg.partition("<svg ")
    body = DROPPED.sub("", root + body)
    view = ROOT.match(body)
    body = UNTURNED.sub("", FONT.sub("", body[view.end() :]))
    body = NAMED.sub(rf"\g<1>{name}-", body).replace("xlink:href", "href")
    body = LONG_NUMBER.sub(r"\1", body).replace("\n", " ")
    for role, colour in COLOURS.items():
        body = body.replace(colour, f"var(--{role})")
    said = element("title", title)
    return Html(f'<svg class="chart" id="{name}" role="img" {view[1]}>{said}{re.sub(" {2,}", " ", body).strip()}')
