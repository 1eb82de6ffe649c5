"""Scripts in prompts: what each step makes, and how attempts are counted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hyperhive.scripted_model import brain, puppet, speech


def request(*rounds: str, prompt: str, attempt: int = 0) -> brain.Request:
    """A request after some rounds of a tool whose results were *rounds*."""
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": "<script>[{'old': 1}]</script>"},
        {"role": "assistant", "content": "old answer"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>be good</system-reminder>"},
                {"type": "text", "text": prompt},
            ],
        },
    ]
    for number, result in enumerate(rounds):
        call = {"type": "tool_use", "id": f"t{number}", "name": "Bash", "input": {}}
        messages.append({"role": "assistant", "content": [call]})
        answer = {
            "type": "tool_result",
            "tool_use_id": f"t{number}",
            "content": [{"type": "text", "text": result}],
        }
        messages.append({"role": "user", "content": [answer]})
    return brain.Request({"model": "m", "messages": messages, "tools": [{"name": "Bash"}]}, attempt)


def script(*steps: dict[str, Any]) -> str:
    return f"do <script>{json.dumps(steps)}</script>"


def test_steps_up_to_a_tool_make_one_answer() -> None:
    text = script(
        {"say": "a"},
        {"tool": "Bash", "input": {"command": "x"}},
        {"tools": [{"tool": "A"}, {"tool": "B", "input": {"n": 1}}]},
        {"say": "got {{last_result}}"},
    )
    assert puppet.puppet(request(prompt=text)) == [
        brain.Say("a"),
        brain.UseTool("Bash", {"command": "x"}),
    ]
    assert puppet.puppet(request("r1", prompt=text)) == [
        brain.UseTool("A", {}),
        brain.UseTool("B", {"n": 1}),
    ]
    assert puppet.puppet(request("r1", "r2", prompt=text)) == [brain.Say("got r2")]
    assert puppet.puppet(request("r1", "r2", "r3", prompt=text)) == [
        brain.Say("The script is over.")
    ]


def test_scripts_of_several_messages_are_joined_and_placeholders_filled() -> None:
    tool = script({"tool": "Bash", "input": {"list": ["{{from}}", "{{message_id}}"]}})
    said = script({"say": "end"})
    text = (
        f'<hive-message id="4" from="bob" key="k">\n{tool}\n</hive-message k>'
        f'\n<hive-message id="5" from="eve" key="k">\n{said}\n</hive-message k>'
    )
    first = puppet.puppet(request(prompt=text))
    assert first == [brain.UseTool("Bash", {"list": ["bob", "4"]})]
    assert puppet.puppet(request("r", prompt=text)) == [brain.Say("end")]


def test_faults_come_first_and_as_often_as_they_say() -> None:
    text = script(
        {"error": 429, "retry_after": 2, "times": 2},
        {"cut": 10},
        {"say": "fine"},
    )
    replies = [puppet.puppet(request(prompt=text, attempt=n)) for n in range(5)]
    assert replies[0] == replies[1] == [brain.Fail(429, headers={"retry-after": "2"})]
    assert replies[2] == [brain.Say("fine"), brain.Cut(10)]
    assert replies[3] == replies[4] == [brain.Say("fine")]
    forever = script({"error": 401, "times": "always"})
    assert puppet.puppet(request(prompt=forever, attempt=999)) == [brain.Fail(401)]


def test_named_errors_and_limits() -> None:
    [long] = puppet.puppet(request(prompt=script({"error": "prompt_too_long"})))
    assert isinstance(long, brain.Fail)
    assert (long.status, long.message) == (400, speech.PROMPT_TOO_LONG)
    [limited] = puppet.puppet(request(prompt=script({"error": 429, "limited_until": 1795400000})))
    assert isinstance(limited, brain.Fail)
    assert limited.headers["anthropic-ratelimit-unified-status"] == "rejected"
    assert limited.headers["anthropic-ratelimit-unified-reset"] == "1795400000"


@pytest.mark.parametrize(
    "text",
    [
        "<script>nonsense</script>",
        "<script>{}</script>",
        "<script>[1]</script>",
        script({"sya": "typo"}),
        script({"error": "nope"}),
        script({"error": 500, "times": "often"}),
        script({"sleep": "long"}),
        script({"tool": 7}),
        script({"usage": 3}),
    ],
)
def test_a_faulty_script_is_told(text: str) -> None:
    [failure] = puppet.puppet(request(prompt=text))
    assert isinstance(failure, brain.Fail)
    assert failure.status == 400
    assert "cannot play the script" in failure.message


def test_what_is_no_script_is_answered_plainly() -> None:
    assert puppet.puppet(request(prompt="hi")) == [
        brain.Say("This is the scripted model. It got: hi")
    ]
    [said] = puppet.puppet(request(prompt='<hive-message id="3" from="x" key="k">hi'))
    assert isinstance(said, brain.Say)
    assert "message 3 from x" in said.text


def test_the_same_mail_delivered_again_stands_at_the_same_place() -> None:
    def place(key: str, number: int) -> str:
        text = f'<hive-message id="{number}" from="x" key="{key}">hi</hive-message {key}>'
        return request(prompt=text).place

    assert place("k1", 3) == place("k2", 3)
    assert place("k1", 3) != place("k1", 4)
    assert request(prompt="a").place != request("r", prompt="a").place != request(prompt="b").place


def test_results_stand_in_the_order_of_their_calls() -> None:
    calls = [{"type": "tool_use", "id": name, "name": "Bash", "input": {}} for name in "ab"]
    results = [{"type": "tool_result", "tool_use_id": n, "content": f"of {n}"} for n in "ba"]
    asked = brain.Request(
        {
            "messages": [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": calls},
                {"role": "user", "content": results},
            ]
        }
    )
    assert [one.text for one in asked.results] == ["of a", "of b"]
    assert asked.last_result == "of b"
