"""The admin socket: the operator's verbs for whoever may open a file."""
