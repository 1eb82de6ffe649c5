"""What the configuration of a new agent begins with (S40): files that change nothing yet.

Everything in ``agent.toml`` is a comment, so a new agent is what the hive's defaults make of
it, and the file itself says what can be changed. Pure.
"""

from __future__ import annotations

from typing import Final

from hyperhive.domain import agents, configuration

README: Final = "README.md"
PROMPT: Final = "prompt.md"

_TOML: Final = """\
# The configuration of {name}. It counts once a commit of it was approved and deployed.
# Check it with `hive config check`; every key is explained in docs/configuration.md.

schema = 1

# What this agent is for, in one line; for people.
{description}

# Added to the system prompt of its role.
prompt = "prompt.md"

# Default: the hive's model.
# model = "claude-sonnet-5"

# Built-in tools. WebFetch, WebSearch and Task are there only when they are named.
# tools = ["Bash", "Edit", "Glob", "Grep", "Read", "Write", "TodoWrite", "NotebookEdit"]

# Agents that it may write to besides the manager and the operator. Default: all.
# recipients = ["reviewer"]

# Hosts that it may reach besides those that the operator allows to everybody.
# allowed_hosts = ["api.example.org"]

# [packages]
# apt = ["jq"]
# pip = ["httpx==0.27.2"]
# npm = ["prettier@3.3.3"]

# Never a secret: this file is shown, copied and mirrored.
# [environment]
# TZ = "Europe/Berlin"

# Secrets of the host by their name there, never their value.
# [secrets]
# GITLAB_TOKEN = "gitlab-read"

# Files of this repository, shown read-only at an absolute path.
# [files]
# "/etc/tool/settings.yaml" = "files/settings.yaml"

# [limits]
# memory = "8GiB"
# cpus = 2
# processes = 512

# An extra MCP server; its tools are mcp__clock__…
# [mcp_servers.clock]
# command = "clock-mcp"
# args = ["--zone", "UTC"]
# allowed_tools = ["now"]
"""

FLAKE: Final = "flake.nix"

_FLAKE: Final = """\
# Hands agent.nix to the flake of the hive. Name inputs here, beside their place, e.g.
#   inputs.tools.url = "github:owner/repository";
# They reach agent.nix as flakeInputs.tools; their pins belong into flake.lock (nix flake lock).
{
  inputs = { };

  outputs = inputs: {
    nixosModules.default = {
      _module.args.flakeInputs = removeAttrs inputs [ "self" ];
      imports = [ ./agent.nix ];
    };
  };
}
"""

_MODULE: Final = """\
# The environment of this agent: a module of NixOS on top of the hive's own.
# What agent.toml says (model, tools, hosts, limits, secrets by name) is not repeated here.
{ pkgs, flakeInputs, ... }:
{
  environment.systemPackages = with pkgs; [
    # hello
  ];
}
"""

_NIX_LINES: Final = """\
- `agent.toml`: model, tools, network, limits, secrets by name. All is commented out.
- `agent.nix`: what is installed, as a module of NixOS; `flake.nix` names what else it may use.
"""
_TOML_LINE: Final = """\
- `agent.toml`: model, packages, tools, network, limits, secrets by name. All is commented out.
"""
_PACKAGES: Final = """\
# [packages]
# apt = ["jq"]
# pip = ["httpx==0.27.2"]
# npm = ["prettier@3.3.3"]
"""
_NO_PACKAGES: Final = "# Packages are named in agent.nix.\n"

_PROMPT_OF_AGENT: Final = """\
## What you are for

Nothing is written here yet. Do what the manager and the operator ask of you.
"""

_PROMPT_OF_MANAGER: Final = """\
## Notes on this hive

Nothing is written here yet. What you learn about this hive and its people can be proposed as a
change of this file, like every other change of a configuration.
"""

_README_OF_AGENT: Final = """\
# The configuration of {name}

This repository says how {name} runs. The manager edits it below `/agents/{name}/config`; what
runs changes only when the operator has approved a commit.

- `agent.toml`: model, packages, tools, network, limits, secrets by name. All is commented out.
- `prompt.md`: added to the system prompt.

## Changing it

```
cd /agents/{name}/config
git fetch applied
git rebase applied/main                # what runs now
# edit
git commit -am "Say what and why"
git diff applied/main                  # what the operator will see
git rev-parse HEAD                     # for request_apply_commit
```

`applied` cannot be pushed to. Its tags tell what became of every proposal: `proposal/7`,
`approved/7`, `building/7`, then `deployed/7`, `failed/7` or `denied/7`. `git show failed/7` has
the error, `git show denied/7` the operator's note. A failure is not the end: what ran before
still runs, and the next try is a new commit.

Refused: symbolic links, submodules, `.gitattributes`, secrets, large files.
"""

_README_OF_MANAGER: Final = (
    _README_OF_AGENT
    + """
## This is your own

The operator decides about this one as about every other, and reads it with more care: say in the
description why you need the change. It counts when you have been restarted with it.
"""
)


def files(agent: agents.Agent) -> dict[str, bytes]:
    """The files of the first commit in the configuration of *agent*, by path."""
    of_manager = agent.role is agents.Role.MANAGER
    described = "looks after the other agents" if of_manager else ""
    description = f'description = "{described}"' if described else '# description = "…"'
    readme = _README_OF_MANAGER if of_manager else _README_OF_AGENT
    return {
        configuration.FILE_NAME: _TOML.format(name=agent.name, description=description).encode(),
        PROMPT: (_PROMPT_OF_MANAGER if of_manager else _PROMPT_OF_AGENT).encode(),
        README: readme.format(name=agent.name).encode(),
    }


def files_for_nix(agent: agents.Agent) -> dict[str, bytes]:
    """The same for a hive that builds with Nix: packages are ``agent.nix``'s (S40)."""
    made = files(agent)
    toml = made[configuration.FILE_NAME].decode().replace(_PACKAGES, _NO_PACKAGES)
    readme = made[README].decode().replace(_TOML_LINE, _NIX_LINES)
    return {
        **made,
        configuration.FILE_NAME: toml.encode(),
        README: readme.encode(),
        FLAKE: _FLAKE.encode(),
        configuration.NIX_FILE_NAME: _MODULE.encode(),
    }
