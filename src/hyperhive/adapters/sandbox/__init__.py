"""Where agents run: bubblewrap on this host, and a twin in memory."""
