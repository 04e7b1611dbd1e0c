"""Quality of a plant: what its checks found, where vehicles pass at once, alarms, and how much its gates inspect."""
