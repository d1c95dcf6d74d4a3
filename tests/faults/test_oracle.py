"""The oracle says what is wrong, invariant by invariant, and nothing where all is well."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest

from fanfare.db.engine import Database
from fanfare.dev.api_client import CampaignStats
from fanfare.dev.reconciliation import Device
from fanfare.models import ProjectCtx, ProviderName
from tests.activities import scene
from tests.faults.oracle import Account, Facts, judge

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
AUDIENCE = 6
DEVICES: list[Device] = [(ProviderName.APNS, f"{number:064x}") for number in range(AUDIENCE)]
SENT, FAILED, UNKNOWN, REPEATED = DEVICES[:3], DEVICES[3], DEVICES[4], DEVICES[5]
TAKEN: Mapping[Device, int] = {**dict.fromkeys([*SENT, UNKNOWN], 1), REPEATED: 2}
ACCOUNT = Account(requests=7, last_accepted_at=NOW, taken=TAKEN)
STATS = CampaignStats(
    audience=6, pending=0, sent=4, failed=1, skipped=0, unknown=1, possible_duplicates=1
)
FACTS = Facts(dead={FAILED}, repeats=1, stopped_at=NOW, retry_budget=0.2)

# Three sent, one dead, one of which nobody knows, one sent twice; and all of it accounted for.
RECORD = """
    INSERT INTO push_deliveries (project_id, campaign_id, token_id, status, possible_duplicate)
    SELECT project_id, %(campaign)s, id,
           CASE place WHEN 4 THEN 'failed' WHEN 5 THEN 'unknown' ELSE 'sent' END, place = 6
    FROM (SELECT project_id, id, row_number() OVER (ORDER BY id) AS place
          FROM push_tokens WHERE project_id = %(project)s) AS tokens
"""
COUNT = """
    UPDATE push_batches SET sent = 4, failed = 1, unknown = 1, possible_duplicates = 1,
        claimed = 6, completed_at = now() WHERE campaign_id = %(campaign)s
"""
END = "UPDATE push_campaigns SET status = 'sent' WHERE id = %(campaign)s"
DEACTIVATE = """
    UPDATE push_tokens SET is_active = false, deactivated_reason = 'unregistered'
    WHERE project_id = %(project)s AND token = %(dead)s
"""


class Case:
    """An ended campaign in a transaction that is undone, and what is known of it elsewhere."""

    def __init__(self, conn: psycopg.Connection, project: ProjectCtx, campaign_id: UUID) -> None:
        self.conn = conn
        self.campaign_id = campaign_id
        self.names = {
            "project": project.project_id,
            "campaign": campaign_id,
            "dead": FAILED[1],
            "first": SENT[0][1],
        }

    def change(self, statement: str) -> "Case":
        """Change rows behind everyone's back; `%(first)s` is the first device's token."""
        self.conn.execute(statement, self.names)
        return self

    def said(
        self, account: Account = ACCOUNT, stats: CampaignStats = STATS, facts: Facts = FACTS
    ) -> list[str]:
        return list(judge(self.conn, self.campaign_id, account, stats, facts))


@pytest.fixture
async def case(database: Database, database_url: str, project: ProjectCtx) -> AsyncIterator[Case]:
    await scene.devices(database, project, AUDIENCE)
    sending = await scene.campaign(database, project)
    with psycopg.connect(database_url) as conn:
        case = Case(conn, project, sending.id)
        yield case.change(RECORD).change(COUNT).change(END).change(DEACTIVATE)
        conn.rollback()


def of_row(change: str) -> str:
    """The statement that changes the first device's row."""
    return f"""
        {change} AND token_id = (
            SELECT id FROM push_tokens WHERE project_id = %(project)s AND token = %(first)s)
    """


def taken(changes: Mapping[Device, int], account: Account = ACCOUNT) -> Account:
    return replace(account, taken={**account.taken, **changes})


def test_nothing_is_said_where_everything_holds(case: Case) -> None:
    assert case.said() == []


def test_i1_a_row_that_is_lost(case: Case) -> None:
    case.change(of_row("DELETE FROM push_deliveries WHERE campaign_id = %(campaign)s"))

    assert "I1: 5 rows and 0 pending are not the frozen audience of 6" in case.said()


def test_i1_a_row_of_a_stranger(case: Case) -> None:
    case.change(
        of_row(
            "UPDATE push_deliveries SET token_id = -1 WHERE campaign_id = %(campaign)s",
        )
    )

    assert "I1: 1 rows are of nobody in the audience" in case.said()


def test_i1_a_device_that_fell_out_of_its_batch(case: Case) -> None:
    case.change(
        "UPDATE push_batches SET token_ids = token_ids[2:] WHERE campaign_id = %(campaign)s"
    )

    assert "I1: the batches hold 5 devices of 6" in case.said()


def test_i1_somebody_pending_at_the_end(case: Case) -> None:
    case.change(of_row("DELETE FROM push_deliveries WHERE campaign_id = %(campaign)s"))
    case.change("UPDATE push_batches SET sent = 3 WHERE campaign_id = %(campaign)s")

    assert "I1: the campaign is sent and 1 are pending" in case.said()


def test_i1_pending_is_well_while_it_is_sent(case: Case) -> None:
    case.change(of_row("DELETE FROM push_deliveries WHERE campaign_id = %(campaign)s"))
    case.change("UPDATE push_batches SET sent = 3 WHERE campaign_id = %(campaign)s")
    case.change("UPDATE push_campaigns SET status = 'sending' WHERE id = %(campaign)s")

    assert [sentence for sentence in case.said() if sentence.startswith("I1")] == []


def test_i1_pending_is_well_until_a_cancelled_campaign_is_settled(case: Case) -> None:
    case.change(of_row("DELETE FROM push_deliveries WHERE campaign_id = %(campaign)s"))
    case.change("UPDATE push_batches SET sent = 3 WHERE campaign_id = %(campaign)s")
    case.change("UPDATE push_campaigns SET status = 'cancelled' WHERE id = %(campaign)s")

    unsettled = case.said()
    case.change("UPDATE push_campaigns SET settled_at = now() WHERE id = %(campaign)s")
    settled = case.said()

    assert "I2: the campaign is cancelled and not settled" in unsettled
    assert [sentence for sentence in unsettled if sentence.startswith("I1")] == []
    assert "I1: the campaign is cancelled and 1 are pending" in settled


def test_i2_a_row_that_is_not_final(case: Case) -> None:
    case.change("ALTER TABLE push_deliveries DROP CONSTRAINT ck_push_deliveries_status")
    case.change(
        of_row("UPDATE push_deliveries SET status = 'claimed' WHERE campaign_id = %(campaign)s")
    )

    assert "I2: 1 rows are not final" in case.said()


def test_i2_a_message_owed_and_a_batch_open_at_the_end(case: Case) -> None:
    case.change(
        "INSERT INTO push_owed (project_id, campaign_id, number, token_id, due_at) "
        "VALUES (%(project)s, %(campaign)s, 0, 1, now())"
    )
    case.change("UPDATE push_batches SET completed_at = NULL WHERE campaign_id = %(campaign)s")

    assert "I2: the campaign is sent, 1 messages are owed and 1 batches open" in case.said()


def test_i3_a_sent_that_nobody_accepted(case: Case) -> None:
    account = replace(ACCOUNT, taken={**TAKEN, SENT[0]: 0})

    assert "I3: 1 rows are sent and were not accepted" in case.said(account)


def test_i4_an_acceptance_that_failed(case: Case) -> None:
    said = "I4: of the devices that accepted 0 have no row and 1 one that is neither"

    assert said in "\n".join(case.said(taken({FAILED: 1})))


def test_i4_an_acceptance_without_a_row(case: Case) -> None:
    stranger = (ProviderName.FCM, "stranger")

    said = "I4: of the devices that accepted 1 have no row"
    assert said in "\n".join(case.said(taken({stranger: 1})))


def test_i5_a_repeat_without_its_flag(case: Case) -> None:
    said = "\n".join(case.said(taken({SENT[0]: 2}), facts=replace(FACTS, repeats=2)))

    assert "I5: 1 of 2 devices that accepted more than once are not flagged" in said
    assert "I6" not in said


def test_i6_more_repeats_than_are_allowed(case: Case) -> None:
    said = case.said(facts=replace(FACTS, repeats=0))

    assert said == ["I6: 1 devices accepted more than once, over 0"]


def test_i7_an_acceptance_long_after_the_end(case: Case) -> None:
    in_time = replace(ACCOUNT, last_accepted_at=NOW + timedelta(seconds=15))
    late = replace(ACCOUNT, last_accepted_at=NOW + timedelta(seconds=15.5))

    assert case.said(in_time) == []
    assert case.said(late) == ["I7: the last acceptance came 15.5 s after the end"]


def test_i8_a_living_device_that_was_deactivated(case: Case) -> None:
    said = case.said(facts=replace(FACTS, dead=frozenset()))

    assert said == ["I8: 1 living devices were deactivated and 0 dead ones were not"]


def test_i8_a_dead_device_that_was_not(case: Case) -> None:
    said = case.said(facts=replace(FACTS, dead={FAILED, SENT[0]}))

    assert said == ["I8: 0 living devices were deactivated and 1 dead ones were not"]


def test_i8_a_device_that_the_app_took_back_is_nobodys_fault(case: Case) -> None:
    case.change(
        "UPDATE push_tokens SET is_active = false, deactivated_reason = 'unregistered_by_app' "
        "WHERE project_id = %(project)s AND token = %(first)s"
    )

    assert case.said() == []


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("audience", "audience"),
        ("pending", "pending"),
        ("sent", "sent"),
        ("failed", "failed"),
        ("skipped", "skipped"),
        ("unknown", "unknown"),
        ("possible_duplicates", "possible duplicates"),
    ],
)
def test_i9_a_counter_that_is_not_what_the_ledger_holds(case: Case, field: str, name: str) -> None:
    held = STATS.model_dump()[field]

    said = case.said(stats=STATS.model_copy(update={field: held + 1}))

    assert said == [f"I9: the API shows {held + 1} {name} where the ledger holds {held}"]


def test_i9_reasons_that_are_not_those_of_the_ledger(case: Case) -> None:
    said = case.said(stats=STATS.model_copy(update={"skipped_by": {"expired": 1}}))

    assert said == [
        "I9: the API shows {'expired': 1} skipped for a reason where the ledger holds {}"
    ]


def test_i10_more_requests_than_the_budget(case: Case) -> None:
    said = case.said(replace(ACCOUNT, requests=8))

    assert said == ["I10: 8 requests were made for 6, over 7"]
