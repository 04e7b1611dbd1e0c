-- A vehicle of a control group that got other software is no control from then on; code of the release before lets none go.
ALTER TABLE campaign_target ADD COLUMN let_go_at timestamptz;
ALTER TABLE campaign_target ADD COLUMN let_go_reason text NOT NULL DEFAULT '';
CREATE INDEX campaign_target_let_go_idx ON campaign_target (plan_id) WHERE let_go_at IS NOT NULL;

-- Who of a plan is held back, and who joined late and when: few among a million.
ALTER TABLE campaign_target ADD COLUMN joined_at timestamptz;
CREATE INDEX campaign_target_apart_idx ON campaign_target (plan_id, resolution) WHERE verdict = 'control' OR reason = 'joined';
