"""People: who may do what here, and the conversations in which a person answers."""
