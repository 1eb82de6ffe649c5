"""What a day may cost: prices, days, and when a turn would be too much."""

from __future__ import annotations

import datetime
import zoneinfo

import pytest

from hyperhive.domain import budgets, ids, turns
from hyperhive.domain.budgets import Amount

NOW = datetime.datetime(2026, 11, 23, 4, 30, tzinfo=datetime.UTC)


def turn(model: str, **used: int) -> turns.Turn:
    return turns.Turn(
        id=ids.TurnId("t"), agent=ids.AgentId("a" * 12), started_at=NOW, ended_at=NOW,
        outcome=turns.Outcome.OK, note="", woke_by="x", model=model, tool_calls=0,
        usage=turns.Usage(**used),
    )  # fmt: skip


def test_money_follows_the_model_and_tokens_are_of_all_kinds() -> None:
    used = turns.Usage(
        input_tokens=1_000_000, output_tokens=100_000,
        cache_read_tokens=1_000_000, cache_write_tokens=400_000,
    )  # fmt: skip
    amount = budgets.amount_of("claude-sonnet-5", used)
    assert amount.usd == pytest.approx(2 + 1.0 + 0.2 + 1.0)
    assert budgets.amount_of("claude-sonnet-4", used).usd == pytest.approx(3 + 1.5 + 0.3 + 1.5)
    assert amount.tokens == 2_500_000


def test_what_the_claude_program_said_of_two_real_turns_is_what_we_count() -> None:
    for tokens, words, said in ((7871, 25, 0.0160), (24829, 165, 0.0513)):
        used = turns.Usage(input_tokens=tokens, output_tokens=words)
        assert budgets.amount_of("claude-sonnet-5", used).usd == pytest.approx(said, abs=0.0001)


def test_an_unknown_model_counts_as_the_dearest() -> None:
    known = max(price.output for _, price in budgets.PRICES)
    assert budgets.price_of("brand-new-1").output > known
    assert budgets.price_of("Claude-HAIKU-9") == dict(budgets.PRICES)["haiku"]


@pytest.mark.parametrize(
    ("limit", "spent", "more", "over"),
    [
        (Amount(), Amount(1e9, 10**12), Amount(1, 1), False),
        (Amount(usd=5), Amount(usd=4.99), Amount(), False),
        (Amount(usd=5), Amount(usd=5.0), Amount(), True),
        (Amount(usd=5), Amount(usd=4.6), Amount(usd=0.4), False),
        (Amount(usd=5), Amount(usd=4.6), Amount(usd=0.5), True),
        (Amount(tokens=100), Amount(usd=50, tokens=99), Amount(), False),
        (Amount(tokens=100), Amount(tokens=60), Amount(tokens=41), True),
        # What never fits is refused on a fresh day too.
        (Amount(tokens=100), Amount(), Amount(tokens=101), True),
        (Amount(usd=9, tokens=100), Amount(usd=1, tokens=100), Amount(), True),
    ],
)
def test_what_exceeds_a_limit(limit: Amount, spent: Amount, more: Amount, over: bool) -> None:
    said = budgets.exceeded(limit, spent, more)
    assert bool(said) is over
    if over:
        assert " used today" in said


def test_the_reason_says_what_a_turn_takes_only_where_that_matters() -> None:
    assert budgets.exceeded(Amount(usd=5), Amount(usd=4.6), Amount(usd=0.5)) == (
        "4.60 of 5.00 USD used today, and a turn takes about 0.5000"
    )
    assert budgets.exceeded(Amount(tokens=7), Amount(tokens=9)) == "9 of 7 tokens used today"


def test_the_next_turn_takes_the_median_of_those_that_used_the_model() -> None:
    recent = [turn("haiku", output_tokens=count) for count in (0, 10, 1000, 20)]
    assert budgets.expected(recent).tokens == 20
    assert budgets.expected([turn("haiku")]) == budgets.NOTHING
    many = [turn("haiku", output_tokens=5)] * budgets.RECENT_TURNS
    older = [turn("haiku", output_tokens=900)] * 50
    assert budgets.expected([*many, *older]).tokens == 5


def test_a_day_is_one_of_the_zone_and_may_have_23_hours() -> None:
    berlin = zoneinfo.ZoneInfo("Europe/Berlin")
    day = budgets.day_of(datetime.datetime(2026, 3, 28, 23, 30, tzinfo=datetime.UTC), berlin)
    assert day.name == "2026-03-29"
    # The clocks go forward in that night: midnight of the 30th is 22:00 UTC.
    assert day.ends_at == datetime.datetime(2026, 3, 29, 22, tzinfo=datetime.UTC)
    utc = budgets.day_of(NOW, datetime.UTC)
    assert (utc.name, utc.ends_at - NOW) == ("2026-11-23", datetime.timedelta(hours=19.5))


def test_without_a_zone_it_is_a_day_of_the_host() -> None:
    day = budgets.day_of(NOW, None)
    assert day.name == NOW.astimezone().date().isoformat()
    assert NOW < day.ends_at <= NOW + datetime.timedelta(hours=25)
    assert day.ends_at.astimezone().time() == datetime.time()


def test_old_days_are_forgotten() -> None:
    days = ["2026-10-01", "2026-10-19", "2026-11-23"]
    assert budgets.outdated(days, "2026-11-23") == ["2026-10-01"]
