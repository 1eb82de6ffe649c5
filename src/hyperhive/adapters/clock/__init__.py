"""Time: the system's clock, and one that tests move by hand."""
