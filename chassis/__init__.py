"""How it is carried: one driver, one module."""
