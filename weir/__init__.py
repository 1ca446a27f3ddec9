"""The command line and the all-in-one local runner."""
