"""Update agents: one way of putting software onto one kind of ECU, behind one Protocol."""
