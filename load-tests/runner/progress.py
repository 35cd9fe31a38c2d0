"""Shows progress on standard error."""

import sys
import time


class Progress:
    """Counts steps. On a terminal the current step's line shows its elapsed seconds."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._step = 0
        self._title = ""
        self._began = self._step_began = time.monotonic()
        self._live = sys.stderr.isatty()

    def step(self, title: str) -> None:
        self._end_line()
        self._step += 1
        self._title = title
        self._step_began = time.monotonic()
        self._write(self._line())
        if not self._live:
            self._write("\n")

    def tick(self) -> None:
        if self._live:
            self._write(f"\r{self._line()} {time.monotonic() - self._step_began:.0f} s")

    def done(self) -> None:
        self._end_line()
        self._write(f"done in {clock(time.monotonic() - self._began)}\n")

    def _line(self) -> str:
        width = len(str(self._steps))
        return f"[{self._step:>{width}}/{self._steps}] {clock(self._step_began - self._began)} {self._title}"

    def _end_line(self) -> None:
        if self._live and self._step:
            self._write("\n")

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
