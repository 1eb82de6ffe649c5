"""Settings: where each comes from, and what is said of a bad one."""

from __future__ import annotations

import pytest

from hyperhive import settings
from hyperhive.domain import errors


def test_options_win_over_environment_over_file(tmp_path):
    (tmp_path / "hive.toml").write_text('port = 7001\nhive_name = "file"\nmodel = "file"\n')
    env = {"HIVE_PORT": "7002", "HIVE_MODEL": "env"}
    found = settings.load(env, {"home": tmp_path, "port": 7003, "demo": None})
    assert (found.port, found.model, found.hive_name) == (7003, "env", "file")
    assert found.cache == tmp_path / "cache"


def test_defaults_need_nothing(tmp_path):
    found = settings.load({"HIVE_HOME": str(tmp_path)}, {})
    assert (found.host, found.port, found.demo) == ("127.0.0.1", 7000, False)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("port = ", "hive.toml"),
        ("prot = 1", "unknown key 'prot'"),
        ('port = "x"', "port = 'x' from .*hive.toml"),
        ('host = "0.0.0.0"', "loopback only"),
        ("port = 70000", "use 0 to 65535"),
        ('sandbox = "docker"', "use auto, base or host"),
        ("memory_bytes = 1", "256 MiB"),
        ("\x00", "hive.toml: it is not TOML.*move it away"),
        ('forge_url = "git.example"', "forge_url: it is not a URL"),
        ('forge_url = "ftp://git.example"', "forge_url: it is not a URL"),
        ('forge_url = "https://git.example/?x=1"', "address alone"),
        ('forge_organisation = "a/b"', "forge_organisation = 'a/b'"),
        ("uid_base = -5", "uid_base = -5: use 65536"),
        ("uid_base = 4294967290", "to 2000000000"),
        ("warm_seconds = nan", "warm_seconds = nan: use 0 or more"),
        ("turn_seconds = inf", "turn_seconds = inf: use 1 or more"),
        ("crash_limit = 0", "crash_limit = 0: use 1 or more"),
        ("processes = 1", "processes = 1: use 16 or more"),
        ('upstream = "api.anthropic.com"', "not a URL like https"),
        ('upstream = "http://[::1"', "not a URL like https"),
        ('upstream = "ftp://x"', "not a URL like https"),
        ("cpus = nan", "cpus = nan: use more than 0"),
    ],
)
def test_a_bad_setting_names_its_place_and_what_is_allowed(tmp_path, text, why):
    (tmp_path / "hive.toml").write_text(text)
    with pytest.raises(errors.HiveError, match=why) as caught:
        settings.load({}, {"home": tmp_path})
    assert caught.value.kind is errors.ErrorKind.INVALID


def test_a_directory_in_the_place_of_the_file_is_named(tmp_path):
    (tmp_path / "hive.toml").mkdir()
    with pytest.raises(errors.HiveError, match=r"hive\.toml: Is a directory; mend it"):
        settings.load({}, {"home": tmp_path})


def test_a_bad_variable_is_named(tmp_path):
    with pytest.raises(errors.HiveError, match="from HIVE_PORT"):
        settings.load({"HIVE_PORT": "many"}, {"home": tmp_path})


def test_secrets_are_not_shown(tmp_path):
    found = settings.load({"ANTHROPIC_API_KEY": "sk-ant-secret"}, {"home": tmp_path})
    assert found.api_key == "sk-ant-secret"
    assert "sk-ant-secret" not in repr(found)


def test_proxies_come_from_the_hosts_variables_and_small_letters_win(tmp_path):
    env = {
        "HTTPS_PROXY": "http://big:1",
        "https_proxy": "small:3128",
        "HTTP_PROXY": "http://u:p@p:2",
    }
    found = settings.load({**env, "NO_PROXY": "a.example, 10.0.0.0/8"}, {"home": tmp_path})
    assert found.https_proxy == "http://small:3128"
    assert (found.http_proxy, found.no_proxy) == ("http://u:p@p:2", "a.example, 10.0.0.0/8")
    assert "u:p" not in repr(found)


@pytest.mark.parametrize("proxy", ["socks5://s:hidden@p:1080", "http://", "p:x", "http://p:0"])
def test_a_proxy_that_cannot_be_used_is_named_but_not_quoted(tmp_path, proxy):
    with pytest.raises(errors.HiveError, match="proxy from HTTPS_PROXY: it is not") as caught:
        settings.load({"HTTPS_PROXY": proxy}, {"home": tmp_path})
    assert "hidden" not in caught.value.message


def test_a_forge_url_with_a_password_is_refused_and_not_quoted(tmp_path):
    env = {"HIVE_FORGE_URL": "https://hive:hidden@git.example"}
    with pytest.raises(errors.HiveError, match="set-token") as caught:
        settings.load(env, {"home": tmp_path})
    assert "hidden" not in caught.value.message
