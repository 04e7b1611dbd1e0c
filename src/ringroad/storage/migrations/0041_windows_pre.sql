-- An order may be unwanted before a time. Code of the release before leaves it out: wanted at once.
ALTER TABLE plant_order ADD COLUMN earliest_at timestamptz;
