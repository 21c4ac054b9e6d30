"""``python -m balancer``: the same as ``xmpp-balancer``."""

from balancer.cli import main

main()
