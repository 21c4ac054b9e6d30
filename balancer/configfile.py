"""Where a configuration comes from: command line > environment > file > default.

Whatever is wrong is gathered into one `ConfigError`, a line for each problem.  A line quotes
the refused value only where that value cannot be a secret.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from balancer.config import (
    NO_COMPONENT,
    AdminConfig,
    BackendConfig,
    ComponentConfig,
    Config,
    ConfigError,
    HealthConfig,
    ListenConfig,
    LogConfig,
    ServerConfig,
    ServerOverride,
)

PREFIX = "XMPP_BALANCER_"
CONFIG_VARIABLE = PREFIX + "CONFIG"

_Loc = tuple[int | str, ...]

_TABLES: dict[_Loc, type[BaseModel]] = {
    (): Config,
    ("server",): ServerConfig,
    ("listen",): ListenConfig,
    ("admin",): AdminConfig,
    ("health",): HealthConfig,
    ("log",): LogConfig,
    ("component",): ComponentConfig,
    ("component", "server"): ServerOverride,
    ("component", "backend"): BackendConfig,
}
_SETTABLE = ("server", "listen", "admin", "health", "log")
_VARIABLES: dict[str, _Loc] = {PREFIX + "SHUTDOWN_TIMEOUT": ("shutdown_timeout",)} | {
    f"{PREFIX}{table}_{key}".upper(): (table, key)
    for table in _SETTABLE
    for key in _TABLES[(table,)].model_fields
}
_OVERRIDES: dict[str, _Loc] = {"component": ("component",)} | {
    ".".join(map(str, loc)): loc for loc in _VARIABLES.values()
}
_SECRETS = ("secret", "backend_secret", "token")

# Pydantic's error types in the words of a configuration file.
_REASONS = {
    "int_type": "must be an integer",
    "int_from_float": "must be an integer",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be a string",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_pattern_mismatch": "must be 1 to 64 letters, digits, '.', '_' or '-'",
    "string_too_short": "must not be empty",
}
# These quote nothing: what stands in a table's place may well hold a secret.
_QUIET_REASONS = {
    "missing": "missing",
    "model_type": "must be a table",
    "tuple_type": "must be an array",
    "too_short": "must not be empty",
}


def load(
    path: Path | None,
    *,
    environ: Mapping[str, str],
    overrides: Mapping[str, object] = MappingProxyType({}),
) -> Config:
    """Read, merge and check a configuration as a whole.

    Args:
        path: the TOML file; None takes ``XMPP_BALANCER_CONFIG``, or else no file at all.
        environ: the environment, as `os.environ`.
        overrides: from the command line, by dotted key ("listen.port"), or "component" for all
            components at once; None is not given.

    Raises:
        ConfigError: something is wrong, all of it listed in ``problems``.
    """
    if path is None and environ.get(CONFIG_VARIABLE):
        path = Path(environ[CONFIG_VARIABLE])
    return _Loader(path, environ).load(overrides)


def redacted(config: Config) -> str:
    """The effective configuration as TOML, every secret shown as asterisks."""
    return "\n".join(_toml(config.model_dump(), "")).strip() + "\n"


class _Loader:
    def __init__(self, path: Path | None, environ: Mapping[str, str]) -> None:
        self.path = path
        self.environ = environ
        self.problems: list[str] = []
        self.origins: dict[_Loc, str] = {}  # of values that are not as written in the file
        self.secret_variables: set[str] = set()

    def load(self, overrides: Mapping[str, object]) -> Config:
        data = self.read()
        for variable, loc in _VARIABLES.items():
            if variable in self.environ:
                self.set(data, loc, self.environ[variable], f"environment: {variable}")
        for key, value in overrides.items():
            if key not in _OVERRIDES:
                hint = _did_you_mean(key, _OVERRIDES)
                self.problems.append(f"command line: {key}: unknown key{hint}")
            elif value is not None:
                self.set(data, _OVERRIDES[key], deepcopy(value), f"command line: {key}")
        self.resolve_secrets(data)
        self.refuse_unknown_variables()
        try:
            config = Config.model_validate(data)
        except ValidationError as error:
            self.problems += map(self.describe, error.errors(include_url=False))
        if self.problems:
            raise ConfigError(self.problems)
        return config

    def read(self) -> dict[str, Any]:
        if self.path is None:
            return {}
        try:
            return tomllib.loads(self.path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            reason = f"not valid TOML: {error}"
        except (OSError, ValueError) as error:
            reason = _unreadable(error)
        # Without the file every further check would only add noise.
        raise ConfigError([f"{self.path}: {reason}"]) from None

    def set(self, data: dict[str, Any], loc: _Loc, value: object, origin: str) -> None:
        table: Any = data
        for key in loc[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                return  # the file's value is refused when all is checked
        table[loc[-1]] = _parsed(loc, value) if isinstance(value, str) else value
        self.origins[loc] = origin

    def resolve_secrets(self, data: dict[str, Any]) -> None:
        admin = data.get("admin")
        if isinstance(admin, dict):
            self.resolve_secret(admin, ("admin",), "token")
        for i, component in _tables(data.get("component")):
            loc: _Loc = ("component", i)
            for name in ("secret", "backend_secret"):
                self.resolve_secret(component, loc, name)
            for j, backend in _tables(component.get("backend")):
                self.resolve_secret(backend, (*loc, "backend", j), "secret")

    def resolve_secret(self, table: dict[str, Any], loc: _Loc, name: str) -> None:
        keys = [key for key in (name, f"{name}_file", f"{name}_env") if key in table]
        values = [table.pop(key) for key in keys]
        if not keys:
            return
        # Something must stand there, lest it be reported as missing too.
        table[name] = "unresolved"
        if f"{name}_env" in keys and isinstance(values[-1], str):
            self.secret_variables.add(values[-1])
        if len(keys) > 1:
            self.problem((*loc, name), f"give only one of {name}, {name}_file or {name}_env")
        elif keys == [name]:
            table[name] = values[0]
        elif not isinstance(values[0], str):
            self.problem((*loc, keys[0]), "must be a string")
        else:
            try:
                read = self.secret_file if keys == [f"{name}_file"] else self.secret_env
                table[name] = read(values[0])
                self.origins[(*loc, name)] = self.label((*loc, keys[0]))
            except (OSError, ValueError) as error:
                self.problem((*loc, keys[0]), _unreadable(error))
            except LookupError as error:
                self.problem((*loc, keys[0]), str(error.args[0]))

    def secret_file(self, name: str) -> str:
        folder = self.path.parent if self.path else Path()
        return (folder / name).read_text(encoding="utf-8").removesuffix("\n")

    def secret_env(self, name: str) -> str:
        # Not quoted unless it looks like one: it may be the secret itself, put in the wrong key.
        if not re.fullmatch("[A-Z_][A-Z0-9_]*", name):
            raise LookupError("must be the name of an environment variable, in capitals")
        if name not in self.environ:
            raise LookupError(f"the environment variable {name} is not set")
        return self.environ[name]

    def refuse_unknown_variables(self) -> None:
        known = {*_VARIABLES, CONFIG_VARIABLE} | self.secret_variables
        for variable in sorted(self.environ):
            if variable.startswith(PREFIX) and variable not in known:
                hint = _did_you_mean(variable, [*_VARIABLES, CONFIG_VARIABLE])
                self.problems.append(f"environment: {variable}: unknown variable{hint}")

    def problem(self, loc: _Loc, reason: str) -> None:
        self.problems.append(f"{self.label(loc)}: {reason}")

    def label(self, loc: _Loc) -> str:
        for n in range(len(loc), 0, -1):
            if loc[:n] in self.origins:
                return self.origins[loc[:n]] + _dotted(loc[n:])
        return f"{self.path or 'configuration'}: {_dotted(loc).removeprefix('.')}"

    def describe(self, error: ErrorDetails) -> str:
        return f"{self.label(error['loc'])}: {_reason(error)}"


def _reason(error: ErrorDetails) -> str:
    loc, kind, context = error["loc"], error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        table = tuple(key for key in loc[:-1] if isinstance(key, str))
        return "unknown key" + _did_you_mean(str(loc[-1]), _keys(_TABLES[table]))
    if kind == "missing" and loc[-1] == "secret":
        return "missing (give secret, secret_file or secret_env)"
    if kind == "missing" and loc == ("component",):
        return NO_COMPONENT
    if kind in _QUIET_REASONS:
        return _QUIET_REASONS[kind]
    if kind == "literal_error":
        reason = "must be one of " + ", ".join(re.findall("'(.*?)'", context["expected"]))
    else:
        reason = _REASONS[kind].format_map(context) if kind in _REASONS else error["msg"]
    value = error["input"]
    if loc[-1] in _SECRETS or not isinstance(value, str | int | float):
        return reason
    return f"{reason} (got {value!r})"


def _keys(model: type[BaseModel]) -> Iterator[str]:
    for key in model.model_fields:
        yield key
        if key in _SECRETS:
            yield from (f"{key}_file", f"{key}_env")


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    close = get_close_matches(word, list(known), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _dotted(loc: _Loc) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{_key(key)}" for key in loc)


def _key(key: str) -> str:
    return key if re.fullmatch("[A-Za-z0-9_-]+", key) else json.dumps(key)


def _unreadable(error: OSError | ValueError) -> str:
    # The message of a decoding error quotes the bytes: they may be a secret.
    reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
    return f"cannot be read: {reason}"


def _tables(value: object) -> Iterator[tuple[int, dict[str, Any]]]:
    if isinstance(value, list | tuple):
        yield from ((i, table) for i, table in enumerate(value) if isinstance(table, dict))


def _parsed(loc: _Loc, text: str) -> object:
    """A variable's or an option's text as its key's type, or as it is for the check to refuse."""
    model = _TABLES.get(loc[:-1])
    field = model.model_fields.get(str(loc[-1])) if model else None
    try:
        return field.annotation(text) if field and field.annotation in (int, float) else text
    except ValueError:
        return text


def _toml(table: Mapping[str, Any], name: str) -> Iterator[str]:
    nested: list[tuple[str, str, Any]] = []
    for key, value in table.items():
        inner = f"{name}.{key}".removeprefix(".")
        if isinstance(value, dict):
            nested.append((f"[{inner}]", inner, value))
        elif isinstance(value, tuple) and value and isinstance(value[0], dict):
            nested += [(f"[[{inner}]]", inner, item) for item in value]
        elif value is not None:
            yield f"{key} = {_toml_value(value)}"
    for header, inner, item in nested:
        yield from ("", header)
        yield from _toml(item, inner)


def _toml_value(value: object) -> str:
    if isinstance(value, SecretStr):
        return '"********"'
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml_value, value))}]"
    # JSON's strings are TOML's but for DEL, which TOML wants escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
