"""What the balancer costs; see README.md here.  Nothing of this is a test."""
