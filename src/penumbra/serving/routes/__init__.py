"""What the server answers, a module per kind of request."""
