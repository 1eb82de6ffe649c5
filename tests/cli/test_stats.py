"""`hive stats` and `hive metrics-token`: tables for people, JSON for scripts, CSV as it is."""

from __future__ import annotations

import csv
import io
import json

FIGURES = {
    "turns": 3, "outcomes": {"ok": 2, "rate_limited": 1, "lost": 0}, "tool_calls": 5,
    "input_tokens": 1000, "output_tokens": 50, "cache_read_tokens": 98_000,
    "cache_write_tokens": 1000, "cost_usd": 0.25, "cache_share": 0.98, "p50_seconds": 4.2,
    "p95_seconds": 90.0, "context_max_tokens": 70_000,
}  # fmt: skip
STATS = {
    "days": 7, "since": "2030-01-01T00:00:00.000Z", "at": "2030-01-08T00:00:00.000Z",
    "total": FIGURES,
    "rows": [
        {
            "agent": "coder", "model": "=evil\x1b[31m", **FIGURES, "context_tokens": 66_000,
            "woke": [{"name": "operator", "turns": 2}, {"name": "bob", "turns": 1}],
        }
    ],
}  # fmt: skip


def test_a_table_with_a_total(daemon, hive):
    daemon.answers["stats"] = STATS
    done = hive("stats")
    assert done.code == 0
    assert daemon.asked == [("stats", {"name": None, "days": 7})]
    head, row, total = done.out.splitlines()
    assert head.split()[:4] == ["AGENT", "MODEL", "TURNS", "USD"]
    for word in ("coder", "0.2500", "100k", "98%", "4.2s", "1.5m", "66k", "2 ok, 1 rate limited"):
        assert word in row
    assert "operator 2, bob 1" in row
    assert total.startswith("all")
    assert "\x1b" not in done.out
    assert json.loads(hive("stats", "coder", "--days", "30", "--json").out) == STATS
    assert daemon.asked[-1] == ("stats", {"name": "coder", "days": 30})


def test_nothing_yet_is_said_in_words(daemon, hive):
    daemon.answers["stats"] = {**STATS, "rows": []}
    assert "no turn in the last 1 day\n" in hive("stats", "--days", "1").out


def test_csv_goes_out_as_it_is(daemon, hive):
    daemon.answers["stats"] = STATS
    done = hive("stats", "--csv")
    [row] = csv.DictReader(io.StringIO(done.out))
    assert row["model"].startswith("'=evil")
    assert row["rate_limited"] == "1"
    assert hive("stats", "--csv", "--json").code == 2
    assert hive("stats", "--days", "31").code == 2


def test_the_token_is_all_that_is_printed(daemon, hive):
    daemon.answers["metrics-token"] = {"token": "hm_abc"}
    assert hive("metrics-token").out == "hm_abc\n"
    assert daemon.asked == [("metrics-token", {"revoke": False})]
    daemon.answers["metrics-token"] = {"token": None}
    assert "revoked" in hive("metrics-token", "--revoke").out
