"""README.md names every key that can be configured, and no other default than the real one."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from balancer.config import (
    AdminConfig,
    BackendConfig,
    ComponentConfig,
    Config,
    HealthConfig,
    ListenConfig,
    LogConfig,
    ServerConfig,
)

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
REFERENCE = README.partition("## Configuration reference")[2].partition("## Licence")[0]
ROWS = [row for row in REFERENCE.splitlines() if row.startswith("|")]


@pytest.mark.parametrize(
    "model",
    [
        Config,
        ServerConfig,
        ListenConfig,
        AdminConfig,
        HealthConfig,
        LogConfig,
        ComponentConfig,
        BackendConfig,
    ],
)
def test_every_key_and_its_default_is_in_the_reference(model: type[BaseModel]) -> None:
    for key, field in model.model_fields.items():
        if model is Config and key != "shutdown_timeout":
            assert f"[{key}]" in REFERENCE
            continue
        if model is ComponentConfig and key == "backend":
            assert "[[component.backend]]" in REFERENCE
            continue
        rows = [row for row in ROWS if f"`{key}`" in row.split("|")[1]]
        assert rows, f"{key} is not in the configuration reference"
        default = field.default
        if isinstance(default, bool):
            default = None
            assert any(str(field.default).lower() in row for row in rows), key
        if isinstance(default, int | float):
            assert any(str(default) in row for row in rows), f"{key} = {default}"


def test_the_two_commands_are_at_the_top() -> None:
    top = README.partition("## ")[0]
    assert "make demo" in top
    assert "make test" in top
