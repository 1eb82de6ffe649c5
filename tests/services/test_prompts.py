"""System prompts say what is there, and values in them stay what they are."""

from __future__ import annotations

import asyncio
import re

from hyperhive.edges.agent_api import tools
from hyperhive.services import prompts


def test_values_are_no_placeholders_and_keep_their_signs(make_desk):
    async def story():
        bob = await make_desk().agent("bob")
        shown = prompts.render(
            bob, hive='$hive "ü" ${name}', pronouns="ey's/$name", added="${pronouns} $$ $name\n"
        )
        assert '$hive "ü" ${name}' in shown
        assert "ey's/$name" in shown
        assert shown.endswith(f"\n\n{prompts.ADDED}\n\n${{pronouns}} $$ $name\n")
        assert prompts.ADDED not in prompts.render(bob, hive="h", pronouns="x", added=" \n")

    asyncio.run(story())


def test_the_manager_is_taught_the_road_of_configurations(make_desk):
    async def story():
        desk = make_desk()
        manager = await desk.agent("manager")
        bob = await desk.agent("bob")
        shown = prompts.render(manager, hive="h", pronouns="they/them")
        for word in ("request_apply_commit", "/agents/NAME/config", "/applied/NAME.git", "/meta",
                     "git rebase applied/main", "approval_resolved", "failed/ID", "hive secret set",
                     "Every tracked file travels", "`update`", "weigh the request"):  # fmt: skip
            assert word in shown
        assert len(shown) < 9000
        assert "request_apply_commit" not in prompts.render(bob, hive="h", pronouns="x")

    asyncio.run(story())


def test_every_tool_that_the_prompts_name_is_one(make_desk):
    async def story():
        desk = make_desk()
        text = prompts.render(await desk.agent("manager"), hive="h", pronouns="x")
        events = {"approval_resolved", "question_asked", "operator_answered", "question_answered"}
        named = set(re.findall(r"`([a-z]+_[a-z_]+)`", text)) - {"wait_seconds", *events}
        assert named <= {tool.name for tool in tools.TOOLS}

    asyncio.run(story())
