"""Terminal events of agents: bounded noise in a file of its own, and a twin in memory."""
