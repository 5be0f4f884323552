"""What the REST endpoints of both apps share: pagination, rendering, errors, schema, status."""
