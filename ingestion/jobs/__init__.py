"""What every background job needs: a lock, heartbeats, and a measurement of the resources it used."""
