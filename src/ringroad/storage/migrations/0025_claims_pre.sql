-- When a DDI device said success without having said that it runs it. Code of the release before offers such an action
-- again and takes the next success for the outcome, as it always did.
ALTER TABLE assignment ADD COLUMN claimed_at timestamptz;
