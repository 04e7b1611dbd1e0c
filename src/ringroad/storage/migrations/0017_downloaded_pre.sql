-- A plan that only downloads has an outcome of its own. Code of the release before makes no such plan and offers
-- nothing of one that it finds: it only reads the state, as one that is not open.
ALTER TABLE assignment DROP CONSTRAINT assignment_state_check;
CREATE INDEX assignment_withdrawal_idx ON assignment (vin)
    WHERE bundle = 'issued' AND state IN ('pending', 'downloaded', 'failed', 'rolled_back', 'cancelled', 'expired');
