"""Uptane and TUF: sign and verify. Bytes in, values out; no file, network or clock."""
