"""Backends to start from.

Each is run by the command at its top, against `xmpp-balancer demo --stay`.
"""
