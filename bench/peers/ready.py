"""How a peer tells the measurement where it listens."""


def announce(port: int) -> None:
    """Print the line that `bench.servers` waits for."""
    print(f"ready {port}", flush=True)
