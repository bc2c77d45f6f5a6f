"""A headless Chromium, driven over its debugging pipe: nothing but the browser is needed."""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find() -> str | None:
    """The browser's path, or None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Refused(Exception):
    """The browser would not, or a script failed."""


class Chromium:
    """One browser with one page; a context manager. `seen` holds every event it has told."""

    def __init__(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        binary = find()
        assert binary is not None, "no Chromium"
        self._home = Path(tempfile.mkdtemp(prefix="eftweb"))
        orders, self._write = os.pipe()
        self._read, answers = os.pipe()
        self.seen: list[dict[str, Any]] = []
        self._rest = b""
        self._number = 0
        # The browser takes orders on descriptor 3 and answers on 4.
        shell = f'exec "$0" "$@" 3<&{orders} 4>&{answers}'
        arguments = [
            "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu",
            "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run",
            "--disable-background-networking", "--disable-component-update",
            f"--user-data-dir={self._home}", "about:blank",
        ]  # fmt: skip
        self._log = (self._home / "log").open("wb")
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", shell, binary, *arguments],
            pass_fds=(orders, answers), stdout=self._log, stderr=self._log,
            start_new_session=True,
        )  # fmt: skip
        os.close(orders)
        os.close(answers)
        targets = self._call("Target.getTargets")["targetInfos"]
        target = next(t["targetId"] for t in targets if t["type"] == "page")
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session: str | None = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.resize(width, height)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def __enter__(self) -> "Chromium":
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._write)  # the browser ends when nobody can give it orders
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)
        self._log.close()
        shutil.rmtree(self._home, ignore_errors=True)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command to the page; its result."""
        return self._call(method, session=self._session, **parameters)

    def _call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        order: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            order["sessionId"] = session
        os.write(self._write, json.dumps(order).encode() + b"\0")
        deadline_s = time.monotonic() + 60
        while True:
            message = self._next(deadline_s)
            if message.get("id") == self._number:
                if "error" in message:
                    raise Refused(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result
            self.seen.append(message)

    def _next(self, deadline_s: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], deadline_s - time.monotonic())
            data = os.read(self._read, 1 << 20) if ready else b""
            assert data, (self._home / "log").read_text(errors="replace")
            self._rest += data
        one, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(one)
        return message

    def resize(self, width: int, height: int, scale: float = 1.0) -> None:
        """The window, in CSS pixels; below 700 wide it is a phone."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=scale, mobile=width < 700,
        )  # fmt: skip

    def open(self, url: str) -> None:
        self.call("Page.navigate", url=url)
        here = f"location.href.startsWith({json.dumps(url)})"
        self.until(f"{here} && document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise Refused(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, script: str, timeout_s: float = 60.0) -> Any:
        """The first true value of an expression; one that fails is asked again."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                value = self.run(script)
            except Refused as error:  # the page is on its way, or lacks what it will have
                value = None
                failed = str(error)
            else:
                failed = ""
            if value:
                return value
            assert time.monotonic() < deadline_s, f"{script} stayed {value!r} {failed}"
            time.sleep(0.05)

    def picture(self, path: Path) -> None:
        """Write the whole page as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self.call("Page.captureScreenshot", format="png", clip=clip,
                         captureBeyondViewport=True)  # fmt: skip
        path.write_bytes(base64.b64decode(shot["data"]))

    def complaints(self) -> list[str]:
        """Errors the page has caused so far: exceptions, refused loads, the policy's refusals."""
        self.run("1")
        found = []
        for message in self.seen:
            parameters = message.get("params", {})
            if message.get("method") == "Runtime.exceptionThrown":
                found.append(str(parameters["exceptionDetails"]))
            elif message.get("method") == "Log.entryAdded":
                entry = parameters["entry"]
                if entry["level"] in ("error", "warning"):
                    found.append(f"{entry.get('url', '')}: {entry['text']}")
        return found

    def requests(self) -> list[str]:
        """URLs the page has asked for so far."""
        self.run("1")
        return [m["params"]["request"]["url"] for m in self.seen
                if m.get("method") == "Network.requestWillBeSent"]  # fmt: skip
