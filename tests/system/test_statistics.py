"""Statistics and metrics of a real hive: what the claude program says, held against the gateway."""

from __future__ import annotations

import pathlib
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import parser
from tests.system import hive_process as hives

from rigs.scripts import script

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

USED = {"input": 1000, "output": 50, "cache_read": 2000, "cache_write": 300}
Samples = dict[tuple[str, ...], float]


@pytest.fixture
def hive(tmp_path: pathlib.Path, test_cache: pathlib.Path) -> Iterator[hives.HiveProcess]:
    home = tmp_path / "home"
    with (
        hives.scripted_model() as (url, key),
        hives.hive(home, test_cache, sandbox="host") as process,
    ):
        process.env |= {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": key}
        process.start()
        yield process
    assert hives.processes_of(home) == []


def scrape(hive: hives.HiveProcess, token: str) -> Samples:
    request = urllib.request.Request(
        f"{hive.ready['url']}/metrics", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        text = answer.read().decode()
    return {
        (one.name, *(f"{name}={value}" for name, value in sorted(one.labels.items()))): one.value
        for family in parser.text_string_to_metric_families(text)
        for one in family.samples
    }


def run_turn(hive: hives.HiveProcess, turns: int, *steps: dict[str, object]) -> None:
    hive.call("send", to="manager", body=script(*steps))

    def ended() -> bool:
        rows = hive.call("turns", name="manager")["turns"]
        return [row["outcome"] for row in rows] == ["ok"] * turns

    hive.until(f"turn {turns} has ended", ended)


def test_both_sides_count_the_same_and_totals_outlive_the_daemon(hive: hives.HiveProcess) -> None:
    token = hive.run("metrics-token").stdout.strip()
    assert ("hive_agents", "phase=running") in scrape(hive, token)
    tool = {"tool": "Bash", "input": {"command": "true"}}
    run_turn(hive, 1, {"usage": USED}, tool, {"say": "one"}, {"usage": USED})
    run_turn(hive, 2, {"say": "two"}, {"usage": USED})

    seen = scrape(hive, token)
    model = "model=claude-sonnet-5"
    for kind, count in USED.items():
        own = seen["hive_turn_tokens_total", "agent=manager", f"kind={kind}", model]
        passed = seen["hive_gateway_tokens_total", "agent=manager", f"kind={kind}"]
        assert own == passed == 3 * count, kind
    assert seen["hive_turns_total", "agent=manager", model, "outcome=ok"] == 2
    assert seen["hive_turn_tool_calls_total", "agent=manager", model] == 1

    stats = hive.ask("stats", "manager", "--days", "1")
    [row] = stats["rows"]
    assert (row["turns"], row["tool_calls"]) == (2, 1)
    assert (row["context_tokens"], row["context_max_tokens"]) == (3300, 3300)
    assert row["cache_share"] == round(2000 / 3300, 4)
    assert 0 < row["p50_seconds"] <= row["p95_seconds"]
    assert row["woke"] == [{"name": "operator", "turns": 2}]
    money = seen["hive_turn_cost_usd_total", "agent=manager", model]
    assert row["cost_usd"] == pytest.approx(money)
    turns = hive.call("turns", name="manager")["turns"]
    assert money == pytest.approx(sum(turn["cost_usd"] for turn in turns))
    # Two requests cost twice what one does: nothing cumulative was summed.
    assert turns[1]["cost_usd"] == pytest.approx(2 * turns[0]["cost_usd"])

    hive.kill()
    hive.start()
    again = scrape(hive, token)
    for name, *labels in seen:
        if name.startswith("hive_turn"):
            assert again[name, *labels] == seen[name, *labels]
    assert ("hive_gateway_requests_total", "agent=manager") in again

    assert hive.run("metrics-token", "--revoke").returncode == 0
    with pytest.raises(urllib.error.HTTPError) as caught:
        scrape(hive, token)
    assert caught.value.code == 401
    caught.value.close()
