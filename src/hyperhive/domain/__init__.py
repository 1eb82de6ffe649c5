"""Pure data, tables and rules; no I/O."""
