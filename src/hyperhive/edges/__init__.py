"""Where the outside comes in: agents' sockets, the admin socket, the page, sandboxes."""
