"""The one server of all agents: a socket each, the harness protocol, and the MCP tools."""
