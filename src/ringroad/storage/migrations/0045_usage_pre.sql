-- Which signal of a vehicle says that an option is used. Code of the release before knows of none and leaves them as they are.
ALTER TABLE demand_book ADD COLUMN usage jsonb NOT NULL DEFAULT '{}';  -- option to VSS path
