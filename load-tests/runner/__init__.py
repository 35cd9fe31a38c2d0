"""What `load-tests/run` is made of."""
