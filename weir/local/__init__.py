"""Everything on one machine: private servers, the supervisor over them, and `weir up`."""
