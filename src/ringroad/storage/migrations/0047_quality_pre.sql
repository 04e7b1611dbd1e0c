-- That a gate looked at every vehicle when one came to it is kept as a choice. Code of the release before takes such a row
-- for one of a contained lot: it lets the vehicle be looked at, and counts it in no rate.
ALTER TABLE gate_draw ADD COLUMN every boolean NOT NULL DEFAULT false;
