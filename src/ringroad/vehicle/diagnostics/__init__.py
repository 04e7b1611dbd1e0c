"""Remote diagnostics in the vehicle: sessions, locks, a SOVD-aligned tree over the ECUs, and its link to the server."""
