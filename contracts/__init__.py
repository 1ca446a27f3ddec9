"""What is said: events, commands, the bus topology and errors. Pure: no I/O, no clock, no environment."""
