"""`fxst apply` on a folder, in a process of its own, with its progress."""

import contextlib
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any, Final

from fxst import untrusted
from fxst.effects.declarations import declared_in

__all__ = ["FolderRun"]

_STOP_SECONDS: Final = 10.0
_MOST_FAILURES: Final = 20


class FolderRun:
    """A running command.

    `state` is `running`, `done`, `failed` or `stopped`.

    Args:
        folder: The folder with recordings.
        options: The options of `fxst apply`.
    """

    state: str

    def __init__(self, folder: str, options: Sequence[str]) -> None:
        self.state = "running"
        self._total: int | None = None
        self._rows: list[dict[str, Any]] = []
        self._words = ""
        declared = [word for path in declared_in for word in ("--effects", str(path))]
        program = [sys.executable, "-m", "fxst", "--no-config", *declared]  # what is heard, and nothing else
        self._command = [*program, "apply", folder, *options, "--format", "jsonl"]
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        planned, _ = self._call("--dry-run", keep=False)
        self._total = planned
        _, code = self._call(keep=True)
        with self._lock:
            if self.state == "running":
                self.state = "failed" if code else "done"

    def _call(self, *more: str, keep: bool) -> tuple[int, int]:
        with self._lock:
            if self.state != "running":
                return 0, 1
            process = subprocess.Popen(
                [*self._command, *more],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            self._process = process
        said: list[str] = []
        reader = threading.Thread(target=lambda: said.extend(process.stderr or ()), daemon=True)
        reader.start()
        count = 0
        for line in process.stdout or ():
            count += 1
            with contextlib.suppress(ValueError):
                if keep:
                    self._rows.append(untrusted.from_json(line))
        code = process.wait()
        reader.join()
        if keep or code:
            self._words = "".join(said[-1:]).strip().removeprefix("fxst: ")
        return count, code

    def stop(self) -> None:
        """End the command; finished files stay, and the same command continues where it stopped."""
        with self._lock:
            if self.state == "running":
                self.state = "stopped"
            process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()

    def progress(self) -> dict[str, Any]:
        """Return how far it is."""
        rows = list(self._rows)
        failed = [row for row in rows if row["status"] == "failed"]
        return {
            "state": self.state,
            "done": len(rows),
            "total": self._total,
            "failed": len(failed),
            "errors": [row["error"] for row in failed[:_MOST_FAILURES]],
            "last": rows[-1]["input"] if rows else "",
            "words": self._words if self.state == "failed" and not failed else "",
        }
