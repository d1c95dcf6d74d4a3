"""Whether requests are let in: not before the database has the tables that they ask."""

from fanfare.errors import DatabaseUnavailable


class Gate:
    """Stands before every route but those of the health. Once open, it stays so."""

    def __init__(self, *, is_open: bool = True) -> None:
        self._is_open = is_open

    def open(self) -> None:
        """Let in whoever asks from now on."""
        self._is_open = True

    def check(self) -> None:
        """Raise DatabaseUnavailable while it is closed."""
        if not self._is_open:
            raise DatabaseUnavailable(
                "The API is starting: PostgreSQL, or its tables, are not there yet. GET /readyz "
                "says why. Try again shortly."
            )
