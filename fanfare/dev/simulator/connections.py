"""The connections that are open, for the counts and for the end."""

from asyncio import Transport


class Connections:
    """Open transports, and the most streams that one connection ever had open at once."""

    def __init__(self) -> None:
        self._open: set[Transport] = set()
        self.peak_streams = 0

    def __len__(self) -> int:
        return len(self._open)

    def add(self, transport: Transport) -> None:
        self._open.add(transport)

    def discard(self, transport: Transport) -> None:
        self._open.discard(transport)

    def abort(self) -> None:
        """Drop every connection without a word."""
        for transport in tuple(self._open):
            transport.abort()
