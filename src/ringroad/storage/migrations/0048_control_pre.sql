-- A vehicle of a control group that got other software is no control from then on; code of the release before lets none go.
ALTER TABLE campaign_target ADD COLUMN let_go_at timestamptz;
ALTER TABLE campaign_target ADD COLUMN let_go_reason text NOT NULL DEFAULT '';
ALTER TABLE campaign_target ADD COLUMN joined_at timestamptz;
