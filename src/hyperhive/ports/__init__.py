"""All that the hive needs from the world, as Protocols.

Each has a real adapter and a memory twin under `hyperhive.adapters`, and one
contract suite under ``tests/contracts`` that both must pass. Methods raise
`HiveError` (UNAVAILABLE unless said otherwise) when the world refuses.
"""

from hyperhive.ports.build_space import BuildLog, BuildSpace
from hyperhive.ports.builder import Builder, BuildOrder, Generation, Input
from hyperhive.ports.config_repo import (
    Change,
    Commit,
    ConfigRepos,
    Meta,
    MetaEntry,
    Produce,
    Tag,
    TagKind,
    TreeFile,
)
from hyperhive.ports.host import Processes, ProcessResult, Secrets
from hyperhive.ports.live_log import LiveEvent, LiveLog
from hyperhive.ports.mirror import (
    FORGE_WIDE,
    TOKEN_SECRET,
    Fault,
    Mirror,
    MirrorError,
    MirrorTarget,
)
from hyperhive.ports.one_shot import OneShot, OneShots
from hyperhive.ports.sandbox import (
    Bind,
    ExecResult,
    Exit,
    Finding,
    Limits,
    Sandbox,
    SandboxSpec,
    Severity,
    Started,
    Stats,
)
from hyperhive.ports.store import ReadTx, Store, Tx
from hyperhive.ports.time import Clock

__all__ = [
    "FORGE_WIDE",
    "TOKEN_SECRET",
    "Bind",
    "BuildLog",
    "BuildOrder",
    "BuildSpace",
    "Builder",
    "Change",
    "Clock",
    "Commit",
    "ConfigRepos",
    "ExecResult",
    "Exit",
    "Fault",
    "Finding",
    "Generation",
    "Input",
    "Limits",
    "LiveEvent",
    "LiveLog",
    "Meta",
    "MetaEntry",
    "Mirror",
    "MirrorError",
    "MirrorTarget",
    "OneShot",
    "OneShots",
    "ProcessResult",
    "Processes",
    "Produce",
    "ReadTx",
    "Sandbox",
    "SandboxSpec",
    "Secrets",
    "Severity",
    "Started",
    "Stats",
    "Store",
    "Tag",
    "TagKind",
    "TreeFile",
    "Tx",
]
