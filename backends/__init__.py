"""A kit for writing backends that work behind the balancer, and ready examples."""
