-- A campaign's vehicles are listed by VIN within each wave and state. In the order in which they were assigned, that of the
-- lot, each of a million rows went to another page of this index: a third of what a campaign's start cost.
CREATE INDEX assignment_listed_idx ON assignment (campaign_id, wave, state, (claimed_at IS NOT NULL), vin);

-- That the campaigns of new assignments exist is looked up once for each campaign; a foreign key asks once for each of a
-- million rows. No assignment changes its campaign, and no campaign is deleted: its plans refer to it.
CREATE FUNCTION know_campaigns() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    unknown text;
BEGIN
    SELECT of.campaign_id INTO unknown FROM (SELECT DISTINCT campaign_id FROM added) AS of
     WHERE NOT EXISTS (SELECT FROM campaign c WHERE c.id = of.campaign_id) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'there is no campaign %', unknown USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER assignment_of_campaign AFTER INSERT ON assignment REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION know_campaigns();

-- When the newest vehicle of a wave ended, and when the first ones did: a gate asks in every round.
CREATE INDEX assignment_ended_idx ON assignment (campaign_id, wave, finished_at) WHERE kind = 'update' AND finished_at IS NOT NULL;
