"""Connections, transactions, migrations, the ledger, blobs, streams and the telemetry lake."""
