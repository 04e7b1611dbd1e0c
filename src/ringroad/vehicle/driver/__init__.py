"""The driver page: what an update will change, whether the driver agrees, how far it is, and why it waits."""
