"""From a configuration to an environment: layers over the base root, and a twin in memory."""
