"""The report in a real browser, light and dark, on a desk and on a phone; skipped where there is no chromium."""

import html
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from report_run import write_run

from bioemb.config import ReportConfig
from bioemb.stages import report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt-get install chromium)")

# The page holds no script, so that another one looks at it from outside and writes down what it sees.
LOOK = """<!DOCTYPE html><meta charset="utf-8"><title>look</title>
<iframe style="width:%dpx;height:900px;border:0" srcdoc="%s"></iframe>
<pre></pre><script>
document.querySelector("iframe").onload = event => {
  const page = event.target.contentDocument, root = page.documentElement;
  const size = each => { const box = each.getBoundingClientRect(); return [each.id, box.width, box.height]; };
  document.querySelector("pre").textContent = JSON.stringify({
    charts: [...page.querySelectorAll("svg.chart")].map(size),
    width: root.scrollWidth, room: root.clientWidth,
    colour: event.target.contentWindow.getComputedStyle(page.body).backgroundColor,
    ink: event.target.contentWindow.getComputedStyle(page.querySelector("svg.chart text")).fill,
    scripts: page.scripts.length,
  });
};
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    folder = write_run(tmp_path_factory.mktemp("run"))
    report.run(ReportConfig(str(folder), load_models=False))
    return (folder / "report.html").read_text(encoding="utf-8")


def browse(page: str, folder: Path, width: int, dark: bool) -> tuple[dict, str]:
    """What a browser of this width sees, and what it complains of."""
    (folder / "look.html").write_text(LOOK % (width, html.escape(page)), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", "--enable-logging=stderr", "--log-level=0"]
    flags += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=5000", "--window-size=1400,1000"]
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    command = [CHROMIUM, *flags, scheme, (folder / "look.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    seen = done.stdout.partition("<pre>")[2].partition("</pre>")[0]
    return json.loads(html.unescape(seen)), "\n".join(x for x in done.stderr.splitlines() if "CONSOLE" in x)


@pytest.mark.parametrize(("width", "dark"), [(1200, False), (360, True)], ids=["desk", "phone"])
def test_every_chart_is_drawn_nothing_overflows_and_nothing_is_complained_of(page, tmp_path, width, dark):
    seen, complaints = browse(page, tmp_path, width, dark)
    assert complaints == "" and seen["scripts"] == 0
    assert len(seen["charts"]) == page.count('<svg class="chart"') > 10
    assert all(wide > 150 and high > 50 for _, wide, high in seen["charts"])
    assert seen["width"] <= seen["room"]  # wide tables scroll by themselves
    light = sum(map(int, seen["colour"].removeprefix("rgb(").removesuffix(")").split(",")))
    ink = sum(map(int, seen["ink"].removeprefix("rgb(").removesuffix(")").split(",")))
    assert (light < 200 and ink > 450) if dark else (light > 700 and ink < 400)
