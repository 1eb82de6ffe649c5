"""Proposed repositories that an attacker has prepared, and a world that notices what they do.

What an agent can put into its own repository: configuration and hooks that start programs,
links and files that lead to other agents' objects or to root's files, pipes that never end,
refs that pretend. The canary notes in whose mount namespace, as whom, a program ran.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import subprocess
from collections.abc import Callable

from hyperhive import ports
from hyperhive.adapters.config_repo import importer, policy, producer
from hyperhive.domain import agents, ids
from rigs import import_bench, sandbox_bench

TAG = "refs/tags/proposal/1"
VICTIM_UID = sandbox_bench.AGENT_UID + 1
VICTIM_TEXT = "what-only-the-victim-knows"
ROOT_TEXT = "what-only-root-knows"
HOOKS = (
    "applypatch-msg", "pre-applypatch", "post-applypatch", "pre-commit", "pre-merge-commit",
    "prepare-commit-msg", "commit-msg", "post-commit", "pre-rebase", "post-checkout", "post-merge",
    "pre-push", "pre-receive", "update", "proc-receive", "post-receive", "post-update",
    "reference-transaction", "push-to-checkout", "pre-auto-gc", "post-rewrite",
    "sendemail-validate", "fsmonitor-watchman", "post-index-change",
)  # fmt: skip
_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Mallory", "GIT_AUTHOR_EMAIL": "m@example.org",
    "GIT_COMMITTER_NAME": "Mallory", "GIT_COMMITTER_EMAIL": "m@example.org",
    "GIT_TEMPLATE_DIR": "", "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
}  # fmt: skip


def git(work: pathlib.Path, *args: str, stdin: str = "") -> str:
    """Run git while the repository is still honest."""
    command = ["git", "-C", str(work), "-c", "init.defaultBranch=main", *args]
    run = subprocess.run(
        command, env=_ENVIRONMENT, input=stdin, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def head(work: pathlib.Path) -> str:
    return git(work, "rev-parse", "HEAD")


@dataclasses.dataclass(frozen=True)
class Case:
    """One prepared repository."""

    name: str
    arrange: Callable[[World, pathlib.Path], str | None]
    """Changes the honest repository at that path; returns the commit to ask for, if not HEAD."""
    accepted: bool
    limits: policy.Limits = importer.LIMITS


CASES: list[Case] = []


def case(
    accepted: bool = True, seconds: float = importer.LIMITS.seconds
) -> Callable[[Callable[[World, pathlib.Path], str | None]], None]:
    def keep(arrange: Callable[[World, pathlib.Path], str | None]) -> None:
        limits = policy.Limits(seconds=seconds)
        CASES.append(Case(arrange.__name__.replace("_", "-"), arrange, accepted, limits))

    return keep


class World:
    """A sandbox of the attacker, a victim, files of root, and a canary."""

    def __init__(self, bench: sandbox_bench.RealBench) -> None:
        self.bench, top = bench, bench.top
        self.proposed = top / "proposed"
        self.proposed.mkdir(mode=0o755)
        self.canary = top / "canary"
        self.canary.mkdir()
        self.canary.chmod(0o777)
        self.program = self.canary / "run"
        self.program.write_text(
            f"#!/bin/sh\nreadlink /proc/self/ns/mnt > {self.canary}/hit-$$\nexit 0\n"
        )
        self.program.chmod(0o755)
        self.root_file = top / "root-only"
        self.root_file.write_text(f"root:{ROOT_TEXT}:\n" * 3)
        self.root_file.chmod(0o600)
        self._template = top / "template"
        self._make_template()
        self.victim = top / "victim"
        self._make_victim()
        self.identity: agents.SandboxIdentity

    def _make_template(self) -> None:
        self._template.mkdir()
        git(self._template, "init", "-q")
        for text in ("model = 'a'\n", "model = 'b'\n"):
            (self._template / "agent.toml").write_text(text)
            git(self._template, "add", ".")
            git(self._template, "commit", "-qm", "Change the model")

    def _make_victim(self) -> None:
        shutil.copytree(self._template, self.victim)
        (self.victim / "secret").write_text(VICTIM_TEXT)
        git(self.victim, "add", ".")
        git(self.victim, "commit", "-qm", "Keep this")
        self.victim_sha = head(self.victim)
        self.victim_tree = git(self.victim, "rev-parse", "HEAD^{tree}")
        everything = git(self.victim, "rev-list", "--objects", "--no-object-names", "HEAD")
        shared = git(self._template, "rev-list", "--objects", "--no-object-names", "HEAD")
        self.foreign = set(everything.split()) - set(shared.split())
        give(self.victim, VICTIM_UID)
        self.victim.chmod(0o700)

    async def start(self) -> None:
        """Start the attacker's sandbox, with all of its paths as they are called here."""
        spec = dataclasses.replace(
            self.bench.spec(("sleep", "600")),
            binds=(
                ports.Bind(self.bench.state, "/state", writable=True),
                ports.Bind(self.proposed, "/agents", writable=True),
                ports.Bind(self.canary, str(self.canary), writable=True),
                ports.Bind(self.victim, str(self.victim)),
            ),
        )
        self.identity = (await self.bench.sandbox.start(spec)).identity

    def prepare(self, made: Case) -> tuple[ids.AgentName, str]:
        """Put the repository of a case in its place; return the agent's name and the commit."""
        name = ids.AgentName(made.name)
        place = self.proposed / name
        place.mkdir()
        work = place / "config"
        shutil.copytree(self._template, work, symlinks=True)
        sha = head(work)
        sha = made.arrange(self, work) or sha
        give(work, sandbox_bench.AGENT_UID)
        return name, sha

    async def inside(self) -> str:
        """The mount namespace of the attacker's sandbox."""
        command = ("readlink", "/proc/self/ns/mnt")
        run = await self.bench.restart().exec(self.bench.agent, self.identity, command)
        return run.stdout.decode().strip()

    async def bring(self, bench: import_bench.ImportBench, made: Case) -> None:
        """Import from a case's repository and look at everything that must hold then."""
        name, sha = self.prepare(made)
        produce = producer.in_sandbox(
            self.bench.restart(), self.bench.agent, self.identity, name, made.limits
        )
        outcome = await bench.bring(produce, sha, made.limits)
        # Nothing ran but in the attacker's own sandbox, as the attacker.
        allowed = (sandbox_bench.AGENT_UID, await self.inside())
        assert allowed[1] != str(pathlib.Path("/proc/self/ns/mnt").readlink())
        assert [hit for hit in self.hits() if hit != allowed] == []
        # Nothing came of anybody else, and no word about it.
        assert bench.objects() & self.foreign == set()
        assert VICTIM_TEXT not in outcome.text
        assert ROOT_TEXT not in outcome.text
        assert outcome.text.isprintable()
        # It ended in time, and nothing is left.
        assert outcome.seconds < import_bench.WALL
        assert bench.left() == []
        if made.accepted:
            assert outcome.commit is not None, outcome.text
            assert bench.refs() == {TAG: sha}
            bench.ask("fsck", "--strict", "--full")
            reached = bench.ask("rev-list", "--objects", "--no-object-names", sha).split()
            assert bench.objects() == set(reached)
        else:
            assert outcome.error is not None
            assert outcome.text.startswith("cannot import ")
            assert (bench.refs(), bench.objects()) == ({}, set())

    def hits(self) -> list[tuple[int, str]]:
        """Who ran the program and in which mount namespace; forgotten when read."""
        found: list[tuple[int, str]] = []
        for path in self.canary.glob("hit-*"):
            found.append((path.stat().st_uid, path.read_text().strip()))
            path.unlink()
        return found


def give(top: pathlib.Path, uid: int) -> None:
    """Make everything below *top* belong to somebody, if we can."""
    if not sandbox_bench.ROOT:
        return
    if not os.path.lexists(top):
        return
    os.lchown(top, uid, uid)
    if top.is_symlink() or not top.is_dir():
        return
    for here, directories, files in os.walk(top):
        for each in (*directories, *files):
            os.lchown(pathlib.Path(here, each), uid, uid)


def configure(work: pathlib.Path, text: str) -> None:
    with (work / ".git" / "config").open("a") as stream:
        stream.write(f"\n{text}\n")


def setting(section: str, key: str, value: str | None = None) -> None:
    """A case that sets one thing that git may start."""

    def arrange(world: World, work: pathlib.Path) -> None:
        configure(work, f"[{section}]\n\t{key} = {value or world.program}")

    name = f"{section.split()[0]}-{key}".lower()
    CASES.append(Case(name, arrange, accepted=True))


# --- configuration that starts programs --------------------------------------------------

setting("core", "fsmonitor")
setting("core", "sshCommand")
setting("core", "pager")
setting("core", "editor")
setting("core", "askPass")
setting("core", "gitProxy")
setting("core", "alternateRefsCommand")
setting("uploadpack", "packObjectsHook")
setting("credential", "helper")
setting("gpg", "program")
setting("diff", "external")


@case()
def hooks_path(world: World, work: pathlib.Path) -> None:
    hooks = work / "hooks"
    hooks.mkdir()
    for name in HOOKS:
        (hooks / name).symlink_to(world.program)
    configure(work, f"[core]\n\thooksPath = {hooks}")


@case()
def hooks(world: World, work: pathlib.Path) -> None:
    (work / ".git" / "hooks").mkdir()
    for name in HOOKS:
        (work / ".git" / "hooks" / name).symlink_to(world.program)


@case()
def worktree_config(world: World, work: pathlib.Path) -> None:
    configure(work, "[extensions]\n\tworktreeConfig = true")
    (work / ".git" / "config.worktree").write_text(f"[core]\n\tfsmonitor = {world.program}\n")


@case()
def included_config(world: World, work: pathlib.Path) -> None:
    (work / "more").write_text(f"[core]\n\tfsmonitor = {world.program}\n")
    configure(work, '[include]\n\tpath = ../more\n[includeIf "gitdir:/**"]\n\tpath = ../more')


@case()
def aliases(world: World, work: pathlib.Path) -> None:
    names = ("rev-parse", "pack-objects", "rev-list", "cat-file", "status")
    configure(work, "[alias]\n" + "".join(f"\t{name} = !{world.program}\n" for name in names))


@case()
def filters(world: World, work: pathlib.Path) -> None:
    run = world.program
    configure(work, f'[filter "x"]\n\tclean = {run}\n\tsmudge = {run}\n\tprocess = {run}')
    (work / ".git" / "info").mkdir(exist_ok=True)
    (work / ".git" / "info" / "attributes").write_text("* filter=x diff=x merge=x\n")


@case()
def diff_and_merge_drivers(world: World, work: pathlib.Path) -> None:
    run = world.program
    configure(work, f'[diff "x"]\n\ttextconv = {run}\n\tcommand = {run}')
    configure(work, f'[merge "x"]\n\tdriver = {run}')
    (work / ".git" / "info").mkdir(exist_ok=True)
    (work / ".git" / "info" / "attributes").write_text("* diff=x merge=x\n")


@case()
def archive_commands(world: World, work: pathlib.Path) -> None:
    configure(work, f'[tar "tar.gz"]\n\tcommand = {world.program}\n\tremote = true')


@case()
def a_signature(world: World, work: pathlib.Path) -> str:
    text = git(work, "cat-file", "commit", "HEAD")
    first, _, rest = text.partition("\n\n")
    signature = "gpgsig -----BEGIN PGP SIGNATURE-----\n \n AAAA\n -----END PGP SIGNATURE-----"
    sha = git(work, "hash-object", "-t", "commit", "-w", "--stdin",
              stdin=f"{first}\n{signature}\n\n{rest}\n")  # fmt: skip
    configure(work, f"[log]\n\tshowSignature = true\n[gpg]\n\tprogram = {world.program}")
    return sha


@case()
def remotes_that_start_programs(world: World, work: pathlib.Path) -> None:
    run = world.program
    configure(work, f'[remote "origin"]\n\turl = ext::{run}\n\tuploadpack = {run}\n\tvcs = x')
    configure(work, '[protocol "ext"]\n\tallow = always')
    configure(work, f'[url "ext::{run} "]\n\tinsteadOf = /')


@case()
def a_submodule_with_a_configuration(world: World, work: pathlib.Path) -> None:
    inner = work / "module"
    shutil.copytree(work / ".git", work / ".git" / "modules" / "module")
    inner.mkdir()
    (inner / ".git").write_text("gitdir: ../.git/modules/module\n")
    text = f"[core]\n\tfsmonitor = {world.program}\n"
    (work / ".git" / "modules" / "module" / "config").write_text(text)
    configure(work, '[submodule "module"]\n\turl = /\n\tactive = true\n\tupdate = !true')


def _promise(world: World, work: pathlib.Path, text: str) -> None:
    """Make the newest file missing, so that git would fetch it from where the text says."""
    blob = git(work, "rev-parse", "HEAD:agent.toml")
    (work / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    configure(work, "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tpartialClone = origin")
    configure(
        work, f'[remote "origin"]\n\tpromisor = true\n\tpartialclonefilter = blob:none\n{text}'
    )


@case(accepted=False)
def a_promise_by_ssh(world: World, work: pathlib.Path) -> None:
    _promise(world, work, f"\turl = ssh://example.org/x\n[core]\n\tsshCommand = {world.program}")


@case(accepted=False)
def a_promise_by_a_program(world: World, work: pathlib.Path) -> None:
    text = f"\turl = ext::{world.program}\n[protocol]\n\tallow = always"
    _promise(world, work, text)


@case(accepted=False)
def a_promise_by_upload_pack(world: World, work: pathlib.Path) -> None:
    _promise(world, work, f"\turl = {world.victim}\n\tuploadpack = {world.program}")


@case(accepted=False)
def a_promise_of_the_victim(world: World, work: pathlib.Path) -> str:
    _promise(world, work, f"\turl = {world.victim}")
    return world.victim_sha


# --- ways to somebody else's objects and files -------------------------------------------


def _alternates(work: pathlib.Path, text: str) -> None:
    (work / ".git" / "objects" / "info").mkdir(exist_ok=True)
    (work / ".git" / "objects" / "info" / "alternates").write_text(text)


@case(accepted=False)
def alternates(world: World, work: pathlib.Path) -> str:
    _alternates(work, f"{world.victim}/.git/objects\n")
    return world.victim_sha


@case(accepted=False)
def a_commit_of_the_victims_tree(world: World, work: pathlib.Path) -> str:
    text = git(work, "cat-file", "commit", "HEAD").split("\n", 1)[1]
    sha = git(work, "hash-object", "-t", "commit", "-w", "--literally", "--stdin",
              stdin=f"tree {world.victim_tree}\n{text}\n")  # fmt: skip
    _alternates(work, f"{world.victim}/.git/objects\n")
    return sha


@case()
def alternates_in_a_ring(world: World, work: pathlib.Path) -> None:
    _alternates(work, "../objects\n/agents/alternates-in-a-ring/config/.git/objects\n")


@case(accepted=False)
def alternates_without_end(world: World, work: pathlib.Path) -> None:
    _alternates(work, "".join(f"/agents/no-{number}/objects\n" for number in range(20_000)))


@case(accepted=False)
def a_file_for_a_repository(world: World, work: pathlib.Path) -> str:
    shutil.rmtree(work / ".git")
    (work / ".git").write_text(f"gitdir: {world.victim}/.git\n")
    return world.victim_sha


@case(accepted=False)
def a_link_for_a_repository(world: World, work: pathlib.Path) -> str:
    shutil.rmtree(work / ".git")
    (work / ".git").symlink_to(world.victim / ".git")
    return world.victim_sha


@case(accepted=False)
def a_link_for_everything(world: World, work: pathlib.Path) -> str:
    shutil.rmtree(work)
    work.symlink_to(world.victim)
    return world.victim_sha


@case(accepted=False)
def another_common_directory(world: World, work: pathlib.Path) -> str:
    (work / ".git" / "commondir").write_text(f"{world.victim}/.git\n")
    return world.victim_sha


@case(accepted=False)
def a_link_for_the_objects(world: World, work: pathlib.Path) -> str:
    shutil.rmtree(work / ".git" / "objects")
    (work / ".git" / "objects").symlink_to(world.victim / ".git" / "objects")
    return world.victim_sha


@case(accepted=False)
def links_for_single_objects(world: World, work: pathlib.Path) -> str:
    for sha in world.foreign:
        place = work / ".git" / "objects" / sha[:2]
        place.mkdir(exist_ok=True)
        (place / sha[2:]).symlink_to(world.victim / ".git" / "objects" / sha[:2] / sha[2:])
    return world.victim_sha


def _link_to_root(name: str, accepted: bool) -> None:
    def arrange(world: World, work: pathlib.Path) -> None:
        path = work / ".git" / name
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(world.root_file)

    CASES.append(Case(f"a-link-for-{name.lower().replace('/', '-')}", arrange, accepted))


# Inside there is no such file, so that some links are nothing; others are no repository.
_link_to_root("packed-refs", accepted=True)
_link_to_root("shallow", accepted=True)
_link_to_root("objects/info/alternates", accepted=True)
_link_to_root("info/grafts", accepted=True)
_link_to_root("config", accepted=True)
_link_to_root("config.worktree", accepted=True)
_link_to_root("index", accepted=True)
_link_to_root("HEAD", accepted=False)


# --- what never ends ---------------------------------------------------------------------


def _pipe(name: str, accepted: bool) -> None:
    def arrange(world: World, work: pathlib.Path) -> None:
        path = work / ".git" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.unlink(missing_ok=True)
        os.mkfifo(path)

    made = Case(
        f"a-pipe-for-{name.lower().replace('/', '-')}",
        arrange,
        accepted,
        policy.Limits(seconds=1.5),
    )
    CASES.append(made)


_pipe("config", accepted=False)
_pipe("packed-refs", accepted=False)
_pipe("HEAD", accepted=False)
_pipe("objects/info/alternates", accepted=False)


@case(accepted=False, seconds=1.5)
def a_pipe_for_an_object(world: World, work: pathlib.Path) -> None:
    blob = git(work, "rev-parse", "HEAD:agent.toml")
    path = work / ".git" / "objects" / blob[:2] / blob[2:]
    path.unlink()
    os.mkfifo(path)


# --- refs that pretend -------------------------------------------------------------------


@case()
def forged_tags(world: World, work: pathlib.Path) -> None:
    old = git(work, "rev-parse", "HEAD~1")
    for name in ("approved/1", "deployed/1", "proposal/1", "proposal/7", "building/1"):
        git(work, "tag", name, old)
    git(work, "tag", "-a", "-m", "forged", "deployed/9", old)


@case()
def a_replaced_commit(world: World, work: pathlib.Path) -> None:
    git(work, "replace", head(work), git(work, "rev-parse", "HEAD~1"))


@case(accepted=False)
def a_tag_named_like_the_commit(world: World, work: pathlib.Path) -> str:
    """A short id is looked up as a name first: another commit comes than was asked for."""
    sha = head(work)
    git(work, "tag", sha[:10], "HEAD~1")
    return sha[:10]


@case()
def a_branch_named_like_the_commit(world: World, work: pathlib.Path) -> None:
    sha = head(work)
    ref = work / ".git" / "refs" / "heads" / sha
    ref.write_text(git(work, "rev-parse", "HEAD~1") + "\n")


@case()
def a_graft(world: World, work: pathlib.Path) -> None:
    """Without parents for us, with them for git: the commit itself says what they are."""
    (work / ".git" / "info").mkdir(exist_ok=True)
    (work / ".git" / "info" / "grafts").write_text(f"{git(work, 'rev-parse', 'HEAD~1')}\n")


@case(accepted=False)
def a_shallow_history(world: World, work: pathlib.Path) -> None:
    old = git(work, "rev-parse", "HEAD~1")
    (work / ".git" / "shallow").write_text(f"{head(work)}\n")
    (work / ".git" / "objects" / old[:2] / old[2:]).unlink()


@case(accepted=False)
def another_kind_of_repository(world: World, work: pathlib.Path) -> None:
    configure(work, "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tobjectFormat = sha256")


@case(accepted=False)
def a_version_of_tomorrow(world: World, work: pathlib.Path) -> None:
    configure(work, "[core]\n\trepositoryformatversion = 9")


@case(accepted=False)
def a_work_tree_elsewhere(world: World, work: pathlib.Path) -> str:
    configure(work, f"[core]\n\tworktree = {world.victim}")
    return world.victim_sha


@case(accepted=False)
def nothing_at_all(world: World, work: pathlib.Path) -> None:
    shutil.rmtree(work)


@case(accepted=False)
def a_broken_object(world: World, work: pathlib.Path) -> None:
    blob = git(work, "rev-parse", "HEAD:agent.toml")
    path = work / ".git" / "objects" / blob[:2] / blob[2:]
    path.chmod(0o644)
    path.write_bytes(b"\x78\x9c" + os.urandom(100))


@case(accepted=False)
def a_tag_object(world: World, work: pathlib.Path) -> str:
    git(work, "tag", "-a", "-m", "x", "x")
    return git(work, "rev-parse", "refs/tags/x")


@case(accepted=False)
def a_message_for_the_terminal(world: World, work: pathlib.Path) -> None:
    """git's words about this go to people, in which nothing may move a cursor."""
    configure(work, "[core]\n\tbig\x1b]52;c;ZXZpbA==\x07FileThreshold = \x1b[2J")
