"""Tests of the balancer and the backends kit."""
