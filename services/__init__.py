"""Who decides: one package per service; services meet on the bus only."""
