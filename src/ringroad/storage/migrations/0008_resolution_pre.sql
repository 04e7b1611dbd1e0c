-- What becomes of vehicles in a plan is kept once for all that are alike (`campaign_resolution`), and packages say what
-- they may be installed over and what they conflict with. Code of the release before knows none of it.
ALTER TABLE software_package ADD COLUMN conflicts jsonb NOT NULL DEFAULT '[]';        -- [{"ecu", "range"}]
ALTER TABLE software_package ADD COLUMN upgrades_from text NOT NULL DEFAULT '*';      -- a range of versions

CREATE TABLE campaign_resolution (     -- immutable, as the plan it is part of
    plan_id text NOT NULL,
    number integer NOT NULL,
    kind bytea NOT NULL,               -- sha256 of all that its vehicles have in common
    stratum text NOT NULL,
    vehicles integer NOT NULL,
    example text NOT NULL,             -- VIN of one of them, which stood for all
    verdict text NOT NULL,             -- a control group is made of matches
    reason text NOT NULL,              -- short and countable
    sentence text NOT NULL,            -- for a person
    steps text[] NOT NULL,             -- releases in the order in which they are installed
    install_bytes bigint NOT NULL,
    install_s integer NOT NULL,        -- seconds, an estimate
    PRIMARY KEY (plan_id, number)
);
ALTER TABLE campaign_target ADD COLUMN resolution integer NOT NULL DEFAULT 0;  -- its number; 0: of a plan before

-- Rows of a plan or of a campaign come out of a join with what these keys point to, a million in one statement, and
-- neither plans nor vehicles are ever deleted: to look each of them up again took longer than all the rest.
ALTER TABLE campaign_target DROP CONSTRAINT campaign_target_plan_id_fkey;
ALTER TABLE assignment DROP CONSTRAINT assignment_vin_fkey;
