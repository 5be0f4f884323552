"""Parts shared by the REST endpoints of both apps: pagination, rendering, errors, schema, status."""
