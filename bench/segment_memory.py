"""How much memory the database's processes and this one hold for themselves."""

import threading

import psutil

from fanfare.dev.processes import ChildProcess

LOOK_SECONDS = 0.2


class PrivateMemory:
    """The peaks while the block runs, in MiB: this process, and PostgreSQL's largest backend.

    What is counted is what a process shares with no other (USS), so not the shared buffers.
    """

    def __init__(self, server: ChildProcess) -> None:
        self.peaks = {"this process": 0, "largest backend": 0}
        self._server = psutil.Process(server.pid)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "PrivateMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(LOOK_SECONDS):
            backends = self._server.children(recursive=True)
            self._note("this process", _private(psutil.Process()))
            self._note("largest backend", max(map(_private, backends), default=0))

    def _note(self, name: str, mebibytes: int) -> None:
        self.peaks[name] = max(self.peaks[name], mebibytes)


def _private(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().uss // 2**20)
    except psutil.Error:
        return 0  # a backend that ended meanwhile
