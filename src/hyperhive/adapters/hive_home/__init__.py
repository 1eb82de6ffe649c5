"""The home directory of a hive."""
