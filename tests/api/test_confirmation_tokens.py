"""A confirmation as callers hold it: nothing of it can be made up or changed."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.confirmations import Confirmation
from fanfare.ids import new_id

PEPPER = b"p" * 32
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
GIVEN = Confirmation(new_id(), b"d" * 32, 1_000_000, NOW)


def test_what_was_signed_is_read_again() -> None:
    signed = GIVEN.signed(PEPPER)

    assert len(signed) == 128
    assert Confirmation.read(signed, PEPPER) == GIVEN


def test_another_pepper_signs_otherwise() -> None:
    assert Confirmation.read(GIVEN.signed(PEPPER), b"q" * 32) is None


@given(place=st.integers(0, 127), letter=st.sampled_from("AZaz09-_"))
def test_nothing_of_it_can_be_changed(place: int, letter: str) -> None:
    signed = GIVEN.signed(PEPPER)

    changed = signed[:place] + letter + signed[place + 1 :]

    assert (Confirmation.read(changed, PEPPER) is None) == (changed != signed)


@given(st.text(max_size=200))
def test_whatever_else_comes_is_none(text: str) -> None:
    assert Confirmation.read(text, PEPPER) is None


@pytest.mark.parametrize("cut", [0, 1, 32, 96, 127])
def test_a_part_of_it_is_none(cut: int) -> None:
    assert Confirmation.read(GIVEN.signed(PEPPER)[:cut], PEPPER) is None
