"""Virtual ECUs: real UDS servers with persistent flash, fault memory and fault scripts; not mocks."""
