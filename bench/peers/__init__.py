"""The servers Weir is measured against. Each is started as `python -m bench.peers.<name>` and prints `ready <port>`."""
