-- A driver's consent: to one update, and to all of them. Code of the release before asks nobody.
ALTER TABLE assignment ADD COLUMN consented_at timestamptz;
ALTER TABLE vehicle ADD COLUMN auto_confirm jsonb;  -- NULL: it is asked; else since when, on whose word
