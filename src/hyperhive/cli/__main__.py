"""Makes ``python -m hyperhive.cli`` the same as `hive`."""

from hyperhive.cli import main

main()
