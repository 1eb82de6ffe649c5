"""Starting host programs: the one package that does, for all others."""
