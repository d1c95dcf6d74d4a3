"""What happens, in which order. Deterministic: nothing here, nor what it imports, does I/O.

`WORKFLOWS` is what the worker registers and what the replay tests replay.
"""

from workflows.campaign import PushCampaign
from workflows.segments import RefreshSegments
from workflows.testpush import SendTestPush
from workflows.upkeep import Upkeep

WORKFLOWS = (PushCampaign, RefreshSegments, SendTestPush, Upkeep)
