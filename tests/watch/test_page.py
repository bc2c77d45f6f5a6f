"""The live page in a real browser: with the real daemon, and with the worst texts."""

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromium
import pytest

from eftraind.clock import Clock
from eftraind.metrics import Metrics, Page
from eftraind.service import web
from eftraind.service.live import Live

pytestmark = [
    pytest.mark.skipif(chromium.find() is None, reason="no Chromium (Debian: chromium)"),
    pytest.mark.slow,
]
CSS = Path(web.__file__).parent / "page" / "page.css"
TEXT = "document.body.innerText"


@pytest.fixture(scope="module")
def browser() -> Iterator[chromium.Chromium]:
    with chromium.Chromium() as made:
        yield made


def test_it_shows_what_the_daemon_does(learning: Any, browser: chromium.Chromium) -> None:
    port = learning.status()["endpoints"]["metrics_port"]
    browser.resize(1280, 900)
    browser.open(f"http://127.0.0.1:{port}/")
    read = "document.querySelector('[data-read={}]').textContent"
    assert browser.until(f"(t => t !== '–' && t)({read.format('serving')})").endswith("%")
    browser.until("document.getElementById('gain').textContent.endsWith('points')")
    browser.until("document.getElementById('state').textContent === 'serving and learning'")
    browser.until(f"{read.format(json.dumps('watts VCCINT'))} === '2.50 W'")
    browser.until("document.querySelector('#events .swapped b').textContent === 'swapped'")
    shown = browser.run(TEXT)
    assert "cam" in shown and "power budget" in shown
    assert f"version {learning.status()['engine']['version']}" in shown
    assert browser.run("document.querySelectorAll('.uplot canvas').length") == 5

    learning.ask("pause")
    browser.until("document.getElementById('state').textContent === 'serving, training paused'")

    assert browser.complaints() == []
    assert {url.partition("/")[2].split("/")[1] for url in browser.requests()
            if url.startswith("http")} == {f"127.0.0.1:{port}"}  # fmt: skip

    learning.stop()
    browser.until("!document.getElementById('banner').hidden")
    assert browser.run("document.getElementById('state').textContent") == "no answer"


def test_all_of_it_is_small(learning: Any) -> None:
    port = learning.status()["endpoints"]["metrics_port"]
    total = 0
    for path in web.ASSETS:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            total += len(answer.read())
    assert total < 200_000


class Hostile:
    """The page over a ring that a villain fills."""

    WORST = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'

    def __init__(self) -> None:
        metrics = Metrics(owner="front")
        self.live = Live(page=Page(metrics.registry), rails=(self.WORST,), clock=Clock())
        metrics.gauge("power_watts").set(1.25, self.WORST, "x")
        site = web.Site(lambda: b"", self.live.document, self.live.silent_s, self.live.unready)
        self.server = web.WebServer(site, "127.0.0.1", 0, Clock())
        for number in range(3):
            self.live.event(self.WORST, {"message": f"{self.WORST}{number}"})
            self.live.take({
                "version": self.WORST, "python": self.WORST, "network": self.WORST,
                "uptime_s": 10**9, "conditions": {}, "clients": 20,
                "weights": {"version": self.WORST, "hash": self.WORST},
                "producers": [self.WORST * 3] * 20,
            })  # fmt: skip


@pytest.fixture
def hostile() -> Iterator[Hostile]:
    made = Hostile()
    yield made
    made.server.close()


def test_hostile_texts_stay_texts(hostile: Hostile, browser: chromium.Chromium) -> None:
    browser.open(f"http://127.0.0.1:{hostile.server.port}/")
    browser.until("document.querySelectorAll('#events li').length === 3")
    assert "onerror" in browser.run(TEXT), "it is shown as what it is"
    assert browser.run("document.querySelectorAll('main img, main script').length") == 0
    assert "owned" not in browser.run("document.title").partition("eftraind")[0]
    assert not browser.run("document.title === 'owned'")
    for width in (320, 390, 800, 1280):
        browser.resize(width, 800)
        fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        browser.until(fits, 10)


def test_an_injected_script_would_not_run(hostile: Hostile, browser: chromium.Chromium) -> None:
    browser.open(f"http://127.0.0.1:{hostile.server.port}/")
    browser.until("document.querySelectorAll('#events li').length === 3")
    ran = """(() => {
      const s = document.createElement('script'); s.textContent = 'window.ran = true';
      document.head.append(s); return window.ran === true; })()"""
    assert browser.run(ran) is False, "the policy refuses it"


def test_a_screen_reader_finds_its_way(hostile: Hostile, browser: chromium.Chromium) -> None:
    browser.open(f"http://127.0.0.1:{hostile.server.port}/")
    browser.until("document.querySelectorAll('#events li').length === 3")
    browser.until("[...document.querySelectorAll('[role=img]:not([hidden])')]"
                  ".every(e => /now/.test(e.getAttribute('aria-label')))")  # fmt: skip
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    names = {(n.get("role", {}).get("value"), n.get("name", {}).get("value")) for n in nodes}
    headings = {name for role, name in names if role == "heading"}
    assert {"Accuracy on new samples", "Inference latency", "Latest events"} <= headings
    assert ("region", "Power") in names or ("region", "Latest events") in names


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_contrast_is_enough_to_read(scheme: int) -> None:
    """WCAG 2.1: 4.5 for text, 3 for lines of charts."""
    block = re.findall(r":root \{(.*?)\}", CSS.read_text(), re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", block))

    def contrast(one: str, other: str) -> float:
        low, high = sorted((luminance(colours[one]), luminance(colours[other])))
        return (high + 0.05) / (low + 0.05)

    for text in ("ink", "soft", "good", "bad", "served"):
        assert contrast(text, "card") >= 4.5 and contrast(text, "ground") >= 4.5, text
    for line in ("served", "frozen", "a", "b", "c", "d"):
        assert contrast(line, "card") >= 3, line
