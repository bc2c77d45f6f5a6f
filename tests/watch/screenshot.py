"""Runs `eftraind demo`, opens its live page after the shift, and writes pictures of it."""

import re
import subprocess
import sys
from pathlib import Path

from chromium import Chromium

DEMO = ("demo", "--rate", "120", "--samples", "14400", "--shift-at", "4800")
RECOVERED = """(() => {
  const served = [...document.querySelectorAll('[data-read=serving]')][0].textContent;
  const gain = parseFloat(document.getElementById('gain').textContent);
  return parseFloat(served) > 90 && gain > 60 && state.rows.length > 100; })()"""
SHOTS = (("page", 1280, 1.0, "light"), ("page-dark", 1280, 1.0, "dark"),
         ("page-phone", 390, 1.0, "light"))  # fmt: skip


def main(directory: Path) -> None:
    command = [sys.executable, "-m", "eftraind", *DEMO]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert demo.stdout is not None
        url = next(found[0] for line in demo.stdout if (found := re.search(r"http://\S+", line)))
        with Chromium() as browser:
            browser.open(url)
            browser.until(RECOVERED, 180)
            for name, width, scale, scheme in SHOTS:
                browser.resize(width, 900, scale)
                feature = {"name": "prefers-color-scheme", "value": scheme}
                browser.call("Emulation.setEmulatedMedia", features=[feature])
                rows = browser.run("state.next")
                browser.until(f"state.next > {rows + 1}")
                browser.picture(directory / f"{name}.png")
            complaints = browser.complaints()
            assert not complaints, complaints
    finally:
        demo.terminate()
        demo.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
