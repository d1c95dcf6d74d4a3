"""What is wanted of a campaign, as far as its workflow knows.

The row is the word. A signal says no more than that it changed; the workflow then looks. So
signals may come twice, late, in any order, or be lost and made up for: the last look is right.
"""

from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from fanfare.models import CampaignStatus
from workflows.endings import failure_of
from workflows.progress import CampaignInput
from workflows.stubs import Standing

_OVER = {
    None: "removed",
    CampaignStatus.DRAFT: "a draft again",
    CampaignStatus.SENT: "sent before",
    CampaignStatus.FAILED: "failed before",
}


class Control:
    """Whether to go on. `over` says in a word why there is nothing left to do."""

    def __init__(self, campaign: CampaignInput) -> None:
        self.campaign = campaign
        self.is_cancelled = False
        self.failure: ApplicationError | None = None
        self.over: str | None = None
        # Whether the row is open although this run is stopping: it was sent again meanwhile.
        self.is_reopened = False
        self._asked = int(campaign.must_look)
        self._heard = 0

    @property
    def is_stopping(self) -> bool:
        """Whether to begin nothing more, ever."""
        return self.is_cancelled or self.failure is not None or self.over is not None

    @property
    def is_changed(self) -> bool:
        """Whether the row was changed, or may have been, since it was last looked at."""
        return self._asked != self._heard

    @property
    def is_held(self) -> bool:
        """Whether to begin nothing for now."""
        return self.campaign.is_paused or self.is_changed

    def ask(self) -> None:
        """Have the row looked at."""
        self._asked += 1

    def questions(self) -> int:
        """The number of the last question."""
        return self._asked

    def hear(self, standing: Standing, *, upto: int) -> None:
        """Take over what the row says; it answers the questions up to that number."""
        self._heard = max(self._heard, upto)
        self.take_over(standing)

    def take_over(self, standing: Standing) -> None:
        """Want what the row says."""
        self.is_reopened = False
        match standing.status:
            case CampaignStatus.SCHEDULED | CampaignStatus.SENDING:
                if standing.in_doubt_since != self.campaign.in_doubt_since:
                    # What this run has done is not in the rows, which are the truth.
                    self.over = "begun anew on a restored database"
                self.is_reopened = self.is_stopping
                self.campaign = self.campaign.heard(standing)
            case CampaignStatus.CANCELLED:
                self.is_cancelled = True
            case over:
                self.over = _OVER[over]

    def carried(self) -> CampaignInput:
        """What the next run is given of the row."""
        return self.campaign.model_copy(update={"must_look": self.is_changed})

    def fail(self, failure: ApplicationError) -> None:
        """Remember why the campaign cannot go on; the first reason stands."""
        self.failure = self.failure or failure

    def note(self, error: ActivityError) -> None:
        """Remember what an activity's end means for the whole."""
        if is_cancelled_exception(error):
            self.is_cancelled = True
        else:
            self.fail(failure_of(error))
