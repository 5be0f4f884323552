"""The running service: lists a second, pages, connections, load and faults."""
