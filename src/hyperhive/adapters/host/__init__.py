"""The host itself: Debian packages that a hive stands on, and facts for the doctor."""
