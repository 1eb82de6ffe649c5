"""One package per port, one module per technology."""
