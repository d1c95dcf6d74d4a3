"""Whether Apple means it when it refuses a credential: one confirmation before it is believed."""


class CredentialTrial:
    """Parts the first refusals of a credential from those that confirm them.

    A send takes `round` along when it begins. Refusals of the round in which the first one came
    prove nothing: a connection can be spoiled, or bound to another key. The round after it goes
    over new connections; a refusal there is believed, unless something was accepted in it before.
    So a credential that is refused costs the requests of two rounds, and nothing is lost by them.
    """

    __slots__ = ("is_on", "round")

    def __init__(self) -> None:
        self.round = 0
        self.is_on = False

    def note_accepted(self, asked_in: int) -> None:
        """The credential was good for a message of that round."""
        if asked_in == self.round:
            self.is_on = False

    def note_refused(self, asked_in: int) -> bool:
        """Return whether another connection may do better: the refusal is not believed yet."""
        if asked_in != self.round:
            return True
        if self.is_on:
            return False
        self.is_on = True
        self.round += 1
        return True
