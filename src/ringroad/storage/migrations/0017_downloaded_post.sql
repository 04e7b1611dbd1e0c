-- Reads every action once.
ALTER TABLE assignment ADD CONSTRAINT assignment_state_check CHECK (state IN
    ('pending', 'offered', 'active', 'cancelling',
     'installed', 'downloaded', 'failed', 'rolled_back', 'cancelled', 'expired'));
DROP INDEX assignment_withdraw_idx;
