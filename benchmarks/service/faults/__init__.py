"""What breaks in production, on purpose: killed parts, many clients, hostile requests, damaged files."""
