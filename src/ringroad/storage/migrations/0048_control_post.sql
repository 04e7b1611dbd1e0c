-- Not beside the columns: a table that gets a column is locked for whoever reads it until its transaction ends.
CREATE INDEX campaign_target_let_go_idx ON campaign_target (plan_id) WHERE let_go_at IS NOT NULL;

-- Who of a plan is held back, and who joined late and when: few among a million.
CREATE INDEX campaign_target_apart_idx ON campaign_target (plan_id, resolution) WHERE verdict = 'control' OR reason = 'joined';
