"""What others hear of the ledger: events, webhooks, exports. Readings of it, never a second truth."""
