"""Wire messages between vehicle, server, plant and console. Values only: no file, network or clock."""
