-- Reads every target once.
ALTER TABLE campaign_target ADD CONSTRAINT campaign_target_verdict_check
    CHECK (verdict IN ('match', 'control', 'already_installed', 'mismatch', 'unknown'));
