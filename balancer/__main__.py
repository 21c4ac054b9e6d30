"""Where ``xmpp-balancer`` and ``python -m balancer`` begin: all commands together."""

import balancer.operate
import balancer.watch  # noqa: F401 - they add their commands
from balancer.cli import app


def main() -> None:
    """Run the command that was typed."""
    app()


if __name__ == "__main__":
    main()
