"""A page in headless Chromium with real mouse and touch input, by Chromium's DevTools protocol over a pipe."""

import json
import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1200,800"),
    "--remote-debugging-pipe",
)


class Page:
    """One page of a browser; a context manager."""

    def __init__(self, chromium: str, file: Path) -> None:
        from_us, self._write = os.pipe()
        self._read, to_us = os.pipe()
        command = [chromium, *FLAGS, f"--user-data-dir={file.parent / 'profile'}", "about:blank"]
        shell = ["bash", "-c", f'exec "$@" 3<&{from_us} 4>&{to_us}', "chromium", *command]
        self._browser = subprocess.Popen(
            shell, pass_fds=(from_us, to_us), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(from_us)
        os.close(to_us)
        self._rest, self._sent, self._session, self._address = b"", 0, "", file.as_uri()

    def __enter__(self) -> Self:
        targets: list[dict[str, str]] = []
        while not targets:
            found = self.send("Target.getTargets")["targetInfos"]
            targets = [target for target in found if target["type"] == "page"]
        attached = self.send("Target.attachToTarget", targetId=targets[0]["targetId"], flatten=True)
        self._session = attached["sessionId"]
        self.send("Page.navigate", url=self._address)
        while self.run("document.readyState + location.protocol") != "completefile:":
            pass
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._browser.kill()
        self._browser.wait()
        os.close(self._read)
        os.close(self._write)

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command; events are passed over."""
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            reply = self._receive()
            if reply.get("id") == self._sent:
                assert "error" not in reply, reply["error"]
                result: dict[str, Any] = reply["result"]
                return result

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            received = os.read(self._read, 1 << 20)
            assert received, "the browser has ended"
            self._rest += received
        payload, self._rest = self._rest.split(b"\0", 1)
        message: dict[str, Any] = json.loads(payload)
        return message

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def place_of(self, selector: str) -> tuple[float, float]:
        """The centre of an element in page pixels."""
        box = self.run(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        return box[0], box[1]

    def click(self, selector: str, *, times: int = 1) -> None:
        """Click with the mouse; `times` 2 is a double click."""
        x, y = self.place_of(selector)
        for count in range(1, times + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=count)

    def tap(self, selector: str) -> None:
        """Tap with a finger."""
        x, y = self.place_of(selector)
        self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
