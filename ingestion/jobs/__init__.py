"""What every background job needs: a lock, heartbeats, and a record of the resources it used."""
