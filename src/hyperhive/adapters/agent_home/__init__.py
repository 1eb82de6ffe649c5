"""The directories of agents on the host."""
