"""The configuration: what is accepted, what is refused and in which words, who overrides whom."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from balancer.config import ComponentConfig, Config, ConfigError, ServerConfig
from balancer.configfile import load, redacted

FILE = Path("balancer.toml")
COMPONENT = """
[[component]]
jid = "svc.example.org"
secret = "s3cret-server"
backend_secret = "s3cret-backend"
"""
Write = Callable[[str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    monkeypatch.chdir(tmp_path)

    def _write(text: str) -> None:
        FILE.write_text(text, encoding="utf-8")

    return _write


def problems(environ: Mapping[str, str] | None = None, **overrides: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(FILE, environ=environ or {}, overrides=overrides)
    assert str(caught.value) == "\n".join(caught.value.problems)
    assert "s3cret" not in str(caught.value)
    return list(caught.value.problems)


def test_defaults(write: Write) -> None:
    write(COMPONENT)
    config = load(FILE, environ={"HOME": "/"})
    assert (config.server.host, config.server.port) == ("127.0.0.1", 5347)
    assert (config.listen.port, config.listen.max_stanza_size) == (5348, 507904)
    assert config.admin.port == 9348
    (component,) = config.component
    assert component.secret.get_secret_value() == "s3cret-server"
    assert component.redeliver == ("message", "presence", "iq-get")
    assert component.queue_bytes == 33554432
    assert "s3cret" not in repr(config)


def test_frozen(write: Write) -> None:
    write(COMPONENT)
    with pytest.raises(ValidationError, match="frozen"):
        load(FILE, environ={}).shutdown_timeout = 1.0


@pytest.mark.parametrize(
    "text",
    [
        "shutdown_timeout = 3" + COMPONENT,
        "[server]\nkeepalive = 150" + COMPONENT,
        "[listen]\nport = 0" + COMPONENT,
        COMPONENT + 'strategy = "random"\naffinity = "none"',
        COMPONENT + "redeliver = []",
        COMPONENT + '[[component.backend]]\nname = "worker-1"\nsecret = "x"\nweight = 256',
        COMPONENT.replace("svc.example.org", "localhost"),
        COMPONENT.replace("svc.example.org", "münchen.example"),
        '[[component]]\njid = "a"\nsecret = "x"\nbackend = [{name = "w", secret = "x"}]',
    ],
)
def test_accepted(write: Write, text: str) -> None:
    write(text)
    load(FILE, environ={})


JID = "must be a domain such as svc.example.org"
ENOENT = "cannot be read: No such file or directory"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            'strategy = "hsah"',
            "strategy: must be one of hash, round-robin, least-outstanding, random (got 'hsah')",
        ),
        ('stratgy = "hash"', "stratgy: unknown key (did you mean 'strategy'?)"),
        ('backend_secret_fle = "s3cret"', "backend_secret_fle: unknown key"),
        ('"odd\\nkey" = 1', '"odd\\nkey": unknown key'),
        ('max_unacked = "5"', "max_unacked: must be an integer (got '5')"),
        ("max_unacked = 1.5", "max_unacked: must be an integer (got 1.5)"),
        ("max_unacked = true", "max_unacked: must be an integer (got True)"),
        ("max_unacked = 0", "max_unacked: must be at least 1 (got 0)"),
        ("weight = 257", "weight: must be at most 256 (got 257)"),
        ("queue_timeout = 0", "queue_timeout: must be greater than 0 (got 0)"),
        ("queue_timeout = nan", "queue_timeout: must be a finite number (got nan)"),
        ("queue_timeout = false", "queue_timeout: must be a number (got False)"),
        ("queue_timeout = []", "queue_timeout: must be a number"),
        (
            'affinity = "none"',
            "affinity: leaves nothing to hash: name a strategy other than hash (got 'none')",
        ),
        ('redeliver = "message"', "redeliver: must be an array"),
        (
            'redeliver = ["iq"]',
            "redeliver[0]: must be one of message, presence, iq-get, iq-set (got 'iq')",
        ),
        ('server = "s3cret"', "server: must be a table"),
        ('server = {host = ""}', "server.host: must not be empty (got '')"),
        ("server = {prt = 1}", "server.prt: unknown key (did you mean 'port'?)"),
        ('backend = ["s3cret"]', "backend[0]: must be a table"),
        (
            'backend = [{name = "a", secret = "x"}, {name = "a", secret = "y"}]',
            "backend: name 'a' is given more than once",
        ),
        (
            'backend = [{name = "a b", secret = "x"}]',
            "backend[0].name: must be 1 to 64 letters, digits, '.', '_' or '-' (got 'a b')",
        ),
        (
            'backend = [{name = "a"}]',
            "backend[0].secret: missing (give secret, secret_file or secret_env)",
        ),
        ('backend = [{secret = "x"}]', "backend[0].name: missing"),
        (
            'backend = [{name = "a", secret_file = "none"}]',
            f"backend[0].secret_file: {ENOENT}",
        ),
        (
            'secret_env = "S3"',
            "secret: give only one of secret, secret_file or secret_env",
        ),
    ],
)
def test_refused_in_component(write: Write, line: str, problem: str) -> None:
    write(COMPONENT + line)
    (found,) = problems()
    hint = " (did you mean 'backend_secret_file'?)" if "fle" in line else ""
    assert found == f"balancer.toml: component[0].{problem}{hint}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "component: missing (give at least one [[component]] table)"),
        ("component = []", "component: missing (give at least one [[component]] table)"),
        ('component = "s3cret"', "component: must be an array"),
        ("listen = 5" + COMPONENT, "listen: must be a table"),
        ("[lisen]" + COMPONENT, "lisen: unknown key (did you mean 'listen'?)"),
        (
            "[server]\nkeepalive = 151" + COMPONENT,
            "server.keepalive: must be at most 150.0 (got 151)",
        ),
        (
            "[server]\nbackoff_min = 60" + COMPONENT,
            "server.backoff_max: must not be less than backoff_min (got 30.0)",
        ),
        (
            "[listen]\nmax_stanza_size = 9" + COMPONENT,
            "listen.max_stanza_size: must be at least 10000 (got 9)",
        ),
        (COMPONENT * 2, "component: jid 'svc.example.org' is given more than once"),
        (
            '[[component]]\njid = "a"\nsecret = "x"',
            "component[0].backend_secret: missing (give backend_secret, backend_secret_file,"
            " backend_secret_env or a [[component.backend]] table)",
        ),
        (
            '[[component]]\njid = "a"\nbackend_secret = "x"',
            "component[0].secret: missing (give secret, secret_file or secret_env)",
        ),
        (COMPONENT.replace('"s3cret-server"', '""'), "component[0].secret: must not be empty"),
        (COMPONENT.replace('"s3cret-server"', "533"), "component[0].secret: must be a string"),
        (
            "a = 1\nb\n",
            "not valid TOML: Expected '=' after a key in a key/value pair (at line 2, column 2)",
        ),
    ],
)
def test_refused(write: Write, text: str, problem: str) -> None:
    write(text)
    assert problems() == [f"balancer.toml: {problem}"]


@pytest.mark.parametrize(
    ("jid", "reason"),
    [
        ("a@b", "must be a domain alone, without @ or /"),
        ("b/c", "must be a domain alone, without @ or /"),
        ("B.org", "must be in lower case"),
        ("", JID),
        ("a..b", JID),
        ("-a.b", JID),
        ("a-.b", JID),
        ("a b", JID),
        ("a" * 64, JID),
        (".".join(["a" * 60] * 17), JID),
    ],
)
def test_jid(write: Write, jid: str, reason: str) -> None:
    write(COMPONENT.replace("svc.example.org", jid))
    assert problems() == [f"balancer.toml: component[0].jid: {reason} (got {jid!r})"]


def test_all_problems_at_once(write: Write) -> None:
    write("[listen]\nprt = 1\n[admin]\nport = -1" + COMPONENT)
    assert problems({"XMPP_BALANCER_LISTEN_PROT": "1"}) == [
        "environment: XMPP_BALANCER_LISTEN_PROT: unknown variable"
        " (did you mean 'XMPP_BALANCER_LISTEN_PORT'?)",
        "balancer.toml: listen.prt: unknown key (did you mean 'port'?)",
        "balancer.toml: admin.port: must be at least 0 (got -1)",
    ]


def test_missing_and_unreadable_file(write: Write) -> None:
    assert problems() == [f"balancer.toml: {ENOENT}"]
    FILE.write_bytes(b'secret = "s3cret\xff"')
    assert problems() == ["balancer.toml: cannot be read: not UTF-8 text"]


def test_precedence(write: Write) -> None:
    variable, key = "XMPP_BALANCER_LISTEN_PORT", "listen.port"
    write(COMPONENT)
    assert load(FILE, environ={}, overrides={key: None}).listen.port == 5348
    write("[listen]\nport = 1" + COMPONENT)
    assert load(FILE, environ={}).listen.port == 1
    assert load(FILE, environ={variable: "2"}).listen.port == 2
    assert load(FILE, environ={variable: "2"}, overrides={key: 3}).listen.port == 3
    assert load(FILE, environ={variable: "2"}, overrides={key: "4"}).listen.port == 4
    assert load(FILE, environ={variable: "x"}, overrides={key: 3}).listen.port == 3


def test_environment(write: Write) -> None:
    write(COMPONENT)
    environ = {
        "XMPP_BALANCER_CONFIG": "balancer.toml",
        "XMPP_BALANCER_SERVER_HOST": "xmpp.example",
        "XMPP_BALANCER_HEALTH_INTERVAL": "0.5",
        "XMPP_BALANCER_LOG_FORMAT": "json",
        "XMPP_BALANCER_SHUTDOWN_TIMEOUT": "1",
    }
    config = load(None, environ=environ)
    assert config.server.host == "xmpp.example"
    assert config.health.interval == 0.5
    assert config.log.format == "json"
    assert config.shutdown_timeout == 1.0


def test_problems_name_their_source(write: Write) -> None:
    write(COMPONENT)
    environ = {"XMPP_BALANCER_LISTEN_PORT": "x", "XMPP_BALANCER_LOG_LEVEL": "loud"}
    overrides: dict[str, object] = {"admin.port": 65536, "admin.prt": 1}
    assert problems(environ, **overrides) == [
        "command line: admin.prt: unknown key (did you mean 'admin.port'?)",
        "environment: XMPP_BALANCER_LISTEN_PORT: must be an integer (got 'x')",
        "command line: admin.port: must be at most 65535 (got 65536)",
        "environment: XMPP_BALANCER_LOG_LEVEL: must be one of debug, info, warning, error"
        " (got 'loud')",
    ]


def test_environment_does_not_hide_a_wrong_table(write: Write) -> None:
    write("listen = 5" + COMPONENT)
    environ = {"XMPP_BALANCER_LISTEN_PORT": "1"}
    assert problems(environ) == ["balancer.toml: listen: must be a table"]


def test_without_a_file() -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, environ={})
    assert caught.value.problems == (
        "configuration: component: missing (give at least one [[component]] table)",
    )
    component = {"jid": "a", "secret_env": "S", "backend_secret": "x", "weight": 0}
    with pytest.raises(ConfigError) as caught:
        load(None, environ={"S": "x"}, overrides={"component": [component]})
    assert caught.value.problems == (
        "command line: component[0].weight: must be at least 1 (got 0)",
    )
    config = load(None, environ={"S": "x"}, overrides={"component": [component | {"weight": 2}]})
    assert config.component[0].weight == 2
    assert component["secret_env"] == "S"  # the caller's own table is left alone


def test_secrets_three_ways(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("")
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "key").write_bytes(b"from file \n")
    (folder / "b.toml").write_text(
        '[[component]]\njid = "a"\nsecret_file = "key"\nbackend_secret_env = "XMPP_BALANCER_KEY"\n'
        'backend = [{name = "w", secret = "inline"}]\n'
    )
    config = load(Path("etc/b.toml"), environ={"XMPP_BALANCER_KEY": "from environment"})
    (component,) = config.component
    assert component.backend_secret is not None
    assert component.secret.get_secret_value() == "from file "
    assert component.backend_secret.get_secret_value() == "from environment"
    assert component.backend[0].secret.get_secret_value() == "inline"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('secret_file = "none"', f"secret_file: {ENOENT}"),
        ('secret_file = "binary"', "secret_file: cannot be read: not UTF-8 text"),
        ('secret_file = "empty"', "secret_file: must not be empty"),
        ("secret_file = 1", "secret_file: must be a string"),
        ('secret_env = "UNSET"', "secret_env: the environment variable UNSET is not set"),
        ('secret_env = "EMPTY"', "secret_env: must not be empty"),
        (
            'secret_env = "s3cret"',
            "secret_env: must be the name of an environment variable, in capitals",
        ),
    ],
)
def test_bad_secret_sources(write: Write, line: str, problem: str) -> None:
    write(COMPONENT.replace('secret = "s3cret-server"', line))
    Path("binary").write_bytes(b"s3cret\xff")
    Path("empty").write_text("\n")
    assert problems({"EMPTY": ""}) == [f"balancer.toml: component[0].{problem}"]


def test_server_for(write: Write) -> None:
    write(
        "[server]\nkeepalive = 30"
        + COMPONENT
        + 'server = {host = "other"}'
        + COMPONENT.replace("svc", "two")
    )
    config = load(FILE, environ={})
    first, second = map(config.server_for, config.component)
    assert first == ServerConfig(host="other", port=5347, keepalive=30.0)
    assert second == config.server


def test_redacted(write: Write) -> None:
    write(
        '[server]\nhost = "quote\\" back\\\\ del\\u007f tab\\t ü"'
        + COMPONENT
        + 'server = {port = 1}\nbackend = [{name = "w", secret = "s3cret-w", weight = 3}]'
        + COMPONENT.replace("svc", "two")
    )
    config = load(FILE, environ={})
    text = redacted(config)
    assert "s3cret" not in text
    table = tomllib.loads(text)
    first, second = table["component"]
    assert first["secret"] == first["backend_secret"] == "********"
    assert first["backend"] == [{"name": "w", "secret": "********", "weight": 3}]
    assert first["server"] == {"port": 1}
    assert "server" not in second
    assert table["server"]["host"] == config.server.host
    FILE.write_text(text, encoding="utf-8")
    again = load(FILE, environ={})
    assert redacted(again) == text
    assert again.server == config.server


def test_redacted_shows_every_key(write: Write) -> None:
    write(COMPONENT)
    table = tomllib.loads(redacted(load(FILE, environ={})))
    assert set(table) == set(Config.model_fields)
    assert set(table["component"][0]) == set(ComponentConfig.model_fields) - {"server"}


def test_a_token_is_a_secret_like_any_other(write: Write, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("t0ken\n")
    write(COMPONENT + '[admin]\ntoken_file = "token"\n')
    config = load(FILE, environ={})
    assert config.admin.token is not None
    assert config.admin.token.get_secret_value() == "t0ken"
    assert "t0ken" not in redacted(config)


def test_a_token_travels_in_a_header() -> None:
    overrides = {
        "admin.token": "schlüssel",
        "component": [{"jid": "a.example", "secret": "x", "backend_secret": "y"}],
    }
    with pytest.raises(ConfigError, match=r"admin\.token: must be printable ASCII") as wrong:
        load(None, environ={}, overrides=overrides)
    assert "schl" not in str(wrong.value)
