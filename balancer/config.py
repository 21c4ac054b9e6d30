"""What can be configured: every key, its unit, its default and its limits.

The models hold values already resolved and checked; `balancer.configfile` finds those
values in files, the environment and the command line.  Times are in seconds, sizes in bytes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

from balancer.errors import BalancerError

# Strict, since a quoted number or a boolean in a number's place is a slip worth reporting.
Count = Annotated[int, Field(strict=True, ge=1)]
Seconds = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
ListenPort = Annotated[int, Field(strict=True, ge=0, le=65535)]  # 0: any free port
Weight = Annotated[int, Field(strict=True, ge=1, le=256)]
# RFC 6120 §13.12: no limit on stanzas may be smaller than 10000 bytes.
StanzaSize = Annotated[int, Field(strict=True, ge=10_000)]
Host = Annotated[str, Field(min_length=1)]
Secret = Annotated[SecretStr, Field(min_length=1)]


def _ascii(value: SecretStr) -> SecretStr:
    secret = value.get_secret_value()
    if not secret.isascii() or not secret.isprintable():
        raise _problem("must be printable ASCII")
    return value


# It travels in an HTTP header.
Token = Annotated[Secret, AfterValidator(_ascii)]
# Names are hashed, logged and typed as command arguments: no spaces, no quoting.
Name = Annotated[str, Field(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,63}\z")]
# In lower case, as servers write it (RFC 7622 §3.3.2); of a domain without a user nobody is sure.
BareJid = Annotated[str, Field(pattern=r"\A[^@/\sA-Z]+@[^@/\sA-Z]+\z")]

Strategy = Literal["hash", "round-robin", "least-outstanding", "random"]
Affinity = Literal["sender", "sender-full", "recipient", "recipient-full", "thread", "none"]
WhenFull = Literal["hold", "spill"]
StanzaKind = Literal["message", "presence", "iq-get", "iq-set"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["console", "json"]

#: Where the HTTP API begins.
API_PREFIX = "/api/v1"

NO_COMPONENT = "missing (give at least one [[component]] table)"


class ConfigError(BalancerError):
    """The configuration cannot be used.

    Args:
        problems: one line each, naming source, key and reason; never a secret.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems: tuple[str, ...] = tuple(problems)
        super().__init__("\n".join(self.problems))


class _Model(BaseModel):
    # Defaults are validated so that a check across two keys also sees the one left out.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class ServerConfig(_Model):
    """Where the XMPP server accepts components, and how to keep that stream."""

    host: Host = "127.0.0.1"
    port: Port = 5347
    connect_timeout: Seconds = 10.0
    # Seconds between white-space keep-alives.  Openfire closes after 6 minutes of silence:
    # at 150 s two of them fit in, so one may be lost.
    keepalive: Annotated[Seconds, Field(le=150)] = 60.0
    backoff_min: Seconds = 0.2
    # A refused handshake rarely mends itself: retry slowly from the start.
    refused_backoff_min: Seconds = 5.0
    backoff_max: Seconds = 30.0
    max_stanza_size: StanzaSize = 10 * 1024 * 1024

    @field_validator("backoff_max")
    @classmethod
    def _above_minimums(cls, value: float, info: ValidationInfo) -> float:
        for key in ("backoff_min", "refused_backoff_min"):
            if value < info.data.get(key, 0):
                raise _problem(f"must not be less than {key}")
        return value


class ServerOverride(_Model):
    """A component's own server address; what is left out is as in ``[server]``."""

    host: Host | None = None
    port: Port | None = None


class ListenConfig(_Model):
    """Where backends connect, and what they may send."""

    host: Host = "127.0.0.1"
    port: ListenPort = 5348
    handshake_timeout: Seconds = 10.0
    # Prosody closes the whole stream, every backend's, above 512 KiB; 16 KiB are left for
    # what the balancer adds to a stanza.
    max_stanza_size: StanzaSize = 512 * 1024 - 16 * 1024
    max_depth: Count = 256


class AdminConfig(_Model):
    """Where the status page, the API and the metrics are served, and who may change things."""

    enabled: bool = True
    host: Host = "127.0.0.1"
    port: ListenPort = 9348
    token: Token | None = None  # without one nothing can be changed
    # Backends each component needs for /readyz to say that the balancer is ready.
    min_ready: Annotated[int, Field(strict=True, ge=0)] = 1
    # Two histograms for each backend are 36 series each; off, they are added up.
    per_backend_histograms: bool = True


class HealthConfig(_Model):
    """How backends are probed: ``rise`` good answers make one well, ``fall`` bad ones ill."""

    interval: Seconds = 2.0
    timeout: Seconds = 2.0
    rise: Count = 2
    fall: Count = 3
    # Seconds over which a newcomer's weight rises; 0: it counts in full at once.  With hashing
    # each step moves conversations, so this is for backends that must warm up.
    slow_start: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] = 0.0
    eject_after: Count = 5  # bad answers in a row
    eject_time: Seconds = 10.0  # times the number of ejections so far
    eject_max: Seconds = 300.0


class LogConfig(_Model):
    """What is logged, and in which form."""

    level: LogLevel = "info"
    format: LogFormat = "console"


class BackendConfig(_Model):
    """A backend known by name: its own secret and its share of the load."""

    name: Name
    secret: Secret
    weight: Weight = 1


class ComponentConfig(_Model):
    """One component JID: its secrets, its pool and its queue."""

    jid: str
    secret: Secret  # towards the server
    server: ServerOverride | None = None
    backend: tuple[BackendConfig, ...] = ()
    backend_secret: Secret | None = None  # for backends that are not named
    weight: Weight = 1  # of backends that are not named
    strategy: Strategy = "hash"
    affinity: Affinity = "sender"
    when_full: WhenFull = "hold"
    max_unacked: Count = 1000  # stanzas, for each backend
    max_unacked_bytes: Count = 8 * 1024 * 1024
    queue_size: Count = 10_000  # stanzas
    queue_bytes: Count = 32 * 1024 * 1024
    queue_timeout: Seconds = 5.0
    iq_timeout: Seconds = 60.0
    affinity_entries: Count = 100_000
    affinity_ttl: Seconds = 3600.0
    # No iq-set: it changes something, and done twice may change it twice.
    redeliver: tuple[StanzaKind, ...] = ("message", "presence", "iq-get")
    admins: tuple[BareJid, ...] = ()  # who may run the balancer's ad-hoc commands (XEP-0050)

    @field_validator("jid")
    @classmethod
    def _bare_domain(cls, value: str) -> str:
        if "@" in value or "/" in value:
            raise _problem("must be a domain alone, without @ or /")
        if value != value.lower():
            raise _problem("must be in lower case")
        if len(value.encode()) > 1023 or not all(map(_is_label, value.split("."))):
            raise _problem("must be a domain such as svc.example.org")
        return value

    @field_validator("backend")
    @classmethod
    def _unique_backends(cls, value: tuple[BackendConfig, ...]) -> tuple[BackendConfig, ...]:
        _unique("name", (backend.name for backend in value))
        return value

    @field_validator("backend_secret")
    @classmethod
    def _some_backend(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        # An absent "backend" was refused for a reason of its own.
        if value is None and info.data.get("backend") == ():
            raise _problem(
                "missing (give backend_secret, backend_secret_file, backend_secret_env"
                " or a [[component.backend]] table)"
            )
        return value

    @field_validator("affinity")
    @classmethod
    def _something_to_hash(cls, value: Affinity, info: ValidationInfo) -> Affinity:
        if value == "none" and info.data.get("strategy") == "hash":
            raise _problem("leaves nothing to hash: name a strategy other than hash")
        return value


class Config(_Model):
    """The whole configuration."""

    shutdown_timeout: Seconds = 10.0
    server: ServerConfig = ServerConfig()
    listen: ListenConfig = ListenConfig()
    admin: AdminConfig = AdminConfig()
    health: HealthConfig = HealthConfig()
    log: LogConfig = LogConfig()
    component: tuple[ComponentConfig, ...]

    @field_validator("component")
    @classmethod
    def _unique_jids(cls, value: tuple[ComponentConfig, ...]) -> tuple[ComponentConfig, ...]:
        # Not a minimum length: pydantic counts only valid items, and would complain twice.
        if not value:
            raise _problem(NO_COMPONENT)
        _unique("jid", (component.jid for component in value))
        return value

    def server_for(self, component: ComponentConfig) -> ServerConfig:
        """``[server]`` with the component's own host and port where it names them."""
        own = component.server.model_dump(exclude_none=True) if component.server else {}
        return self.server.model_copy(update=own)


def _problem(reason: str) -> PydanticCustomError:
    # As a template the text is a value, so braces in it are left alone.
    return PydanticCustomError("config", "{reason}", {"reason": reason})


def _is_label(label: str) -> bool:
    inner = label.replace("-", "").replace("_", "")
    # Unicode letters are allowed: a JID's domain may be internationalized.
    return inner.isalnum() and len(label) <= 63 and label[0] != "-" != label[-1]


def _unique(key: str, values: Iterable[Hashable]) -> None:
    twice: list[Any] = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise _problem(f"{key} {twice[0]!r} is given more than once")
