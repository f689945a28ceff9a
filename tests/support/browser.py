"""A real headless Chromium, driven through its DevTools pipe.

with Browser() as browser:
    page = browser.open(file.as_uri(), width=500)
    page.run("document.title")
    page.press("ArrowRight")
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome-headless-shell")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
KEYS = {
    " ": ("Space", 32),
    "Tab": ("Tab", 9),
    "Enter": ("Enter", 13),
    "ArrowLeft": ("ArrowLeft", 37),
    "ArrowRight": ("ArrowRight", 39),
    "ArrowDown": ("ArrowDown", 40),
    "End": ("End", 35),
    "Delete": ("Delete", 46),
    "Escape": ("Escape", 27),
    **{letter: (f"Key{letter.upper()}", ord(letter.upper())) for letter in "aenrsuw"},
    "j": ("KeyJ", 74),
    "x": ("KeyX", 88),
    "2": ("Digit2", 50),
    "/": ("Slash", 191),
}
TEXTS = {" ": " ", "Enter": "\r", **{key: key for key in KEYS if len(key) == 1}}


class Browser:
    """One process; each opened page is a tab of its own. `BROWSER` is its program, None where none is."""

    def __enter__(self) -> "Browser":
        assert BROWSER
        self._folder = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        to_browser, from_browser = os.pipe(), os.pipe()
        command = [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--mute-audio",
        ]
        command += ["--remote-debugging-pipe", f"--user-data-dir={self._folder.name}"]
        descriptors = f'exec 3<&{to_browser[0]} 4>&{from_browser[1]}; exec "$@"'  # Chromium expects 3 and 4
        self._process = subprocess.Popen(
            ["bash", "-c", descriptors, "bash", *command],
            pass_fds=(to_browser[0], from_browser[1]),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser[0])
        os.close(from_browser[1])
        self._to, self._from = to_browser[1], os.fdopen(from_browser[0], "rb")
        self._count, self._events, self._rest = 0, [], b""
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._to)
        self._from.close()
        self._process.terminate()
        self._process.wait(30)
        self._folder.cleanup()

    def open(self, url: str, width: int = 1280, height: int = 900, dark: bool = False) -> "Page":
        target = self.call("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = Page(self, session)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        page.call("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.call("Emulation.setEmulatedMedia", {"features": [scheme]})
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call("Page.navigate", {"url": url})
        self.wait_for("Page.loadEventFired", session)
        return page

    def call(self, method: str, params: dict | None = None, session: str | None = None) -> dict[str, Any]:
        self._count += 1
        number = self._count
        message = {"id": number, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != number:
            self._events.append(answer)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def wait_for(self, event: str, session: str, limit_s: float = 60) -> None:
        end = time.monotonic() + limit_s
        while not any(e.get("method") == event and e.get("sessionId") == session for e in self._events):
            assert time.monotonic() < end, f"no {event}"
            self._events.append(self._next())

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            piece = self._from.read1(1 << 20)
            assert piece, "the browser ended"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


class Page:
    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def call(self, method: str, params: dict | None = None) -> dict[str, Any]:
        return self._browser.call(method, params, self._session)

    def run(self, script: str) -> Any:
        """The value of an expression, or of what it promises; its exceptions fail the test."""
        asked = {"expression": script, "awaitPromise": True, "returnByValue": True, "userGesture": True}
        found = self.call("Runtime.evaluate", asked)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition: str, limit_s: float = 30) -> None:
        """Until the JavaScript expression is true."""
        end = time.monotonic() + limit_s
        while not self.run(condition):
            assert time.monotonic() < end, f"never: {condition}"
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """Press and let go of a key, as a person does."""
        code, number = KEYS[key]
        what = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        text = {"text": TEXTS[key]} if key in TEXTS else {}
        self.call("Input.dispatchKeyEvent", {"type": "keyDown", **what, **text})
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", **what})

    def click(self, selector: str) -> None:
        """A click of the mouse on the middle of an element."""
        place = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'});"
            "const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            at = {"x": place[0], "y": place[1], "button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", {"type": kind, **at})

    def drag(self, selector: str, by: tuple[float, float]) -> None:
        """Press on the middle of an element, move by so many pixels, and let go."""
        place = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'center'});"
            "const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()"
        )
        for kind, share in (
            ("mousePressed", 0),
            ("mouseMoved", 0.5),
            ("mouseMoved", 1),
            ("mouseReleased", 1),
        ):
            at = {"x": place[0] + share * by[0], "y": place[1] + share * by[1]}
            held = {"button": "left", "buttons": 1, "clickCount": 1}
            self.call("Input.dispatchMouseEvent", {"type": kind, **at, **held})

    def screenshot(self, path: Path) -> None:
        whole = {"format": "png", "captureBeyondViewport": True}
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", whole)["data"]))

    def complaints(self) -> list[str]:
        """Errors and warnings of the console so far."""
        self.run("0")
        own = [e for e in self._browser._events if e.get("sessionId") == self._session]
        found = [json.dumps(e["params"]) for e in own if e["method"] == "Runtime.exceptionThrown"]
        found += [
            e["params"]["entry"]["text"]
            for e in own
            if e["method"] == "Log.entryAdded" and e["params"]["entry"]["level"] in ("error", "warning")
        ]
        return found

    def requests(self) -> list[str]:
        """Every address that was asked for, data: addresses aside."""
        own = [e for e in self._browser._events if e.get("sessionId") == self._session]
        sent = [e["params"]["request"]["url"] for e in own if e["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith("data:")]
