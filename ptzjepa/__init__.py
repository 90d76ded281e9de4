"""The command line and the supervisor: knows all services, and no service knows it."""
