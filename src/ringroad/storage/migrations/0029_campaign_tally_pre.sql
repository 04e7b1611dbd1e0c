-- How many vehicles of a campaign are in which state, kept by the database, so that nobody has to count a million.
-- Each statement adds what it changed as rows of its own, which lock nothing; the worker folds them together.
CREATE TABLE campaign_tally (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id text NOT NULL,
    kind text NOT NULL,
    wave integer NOT NULL,             -- 0 in rows of a minute
    state text NOT NULL,               -- in rows of a minute: offered, installed or failed
    claimed boolean NOT NULL,          -- its success was claimed; false in rows of a minute
    minute timestamptz NOT NULL,       -- '-infinity': vehicles that are in the state; else how many came into it then
    vehicles bigint NOT NULL,          -- may be less than nothing in a row that is not folded
    newest_report_at timestamptz,
    folded boolean NOT NULL DEFAULT false
);
CREATE INDEX campaign_tally_campaign_idx ON campaign_tally (campaign_id, minute);
CREATE UNIQUE INDEX campaign_tally_folded_idx ON campaign_tally (campaign_id, kind, wave, state, claimed, minute) WHERE folded;
CREATE INDEX campaign_tally_new_idx ON campaign_tally (id) WHERE NOT folded;

CREATE FUNCTION tally_assignments() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        WITH moved AS MATERIALIZED (
            SELECT campaign_id, kind, wave, state, claimed_at IS NOT NULL AS claimed, offered_at, finished_at, count(*) AS n, max(last_report_at) AS reported
              FROM added GROUP BY campaign_id, kind, wave, state, 5, offered_at, finished_at
        )
        INSERT INTO campaign_tally (campaign_id, kind, wave, state, claimed, minute, vehicles, newest_report_at)
        SELECT campaign_id, kind, wave, state, claimed, '-infinity', sum(n), max(reported) FROM moved
         GROUP BY campaign_id, kind, wave, state, claimed
        UNION ALL
        SELECT campaign_id, kind, 0, came.state, false, came.minute, sum(n), NULL
          FROM moved CROSS JOIN LATERAL tally_minutes(moved.state, moved.offered_at, moved.finished_at) AS came
         WHERE kind = 'update' GROUP BY campaign_id, kind, came.state, came.minute;
    ELSIF TG_OP = 'UPDATE' THEN
        WITH moved AS MATERIALIZED (
            SELECT campaign_id, kind, wave, state, claimed_at IS NOT NULL AS claimed, offered_at, finished_at, count(*) AS n, max(last_report_at) AS reported
              FROM added GROUP BY campaign_id, kind, wave, state, 5, offered_at, finished_at
            UNION ALL
            SELECT campaign_id, kind, wave, state, claimed_at IS NOT NULL, offered_at, finished_at, -count(*), NULL
              FROM gone GROUP BY campaign_id, kind, wave, state, 5, offered_at, finished_at
        )
        INSERT INTO campaign_tally (campaign_id, kind, wave, state, claimed, minute, vehicles, newest_report_at)
        SELECT campaign_id, kind, wave, state, claimed, '-infinity', sum(n), max(reported) FROM moved
         GROUP BY campaign_id, kind, wave, state, claimed HAVING sum(n) <> 0 OR max(reported) IS NOT NULL
        UNION ALL
        SELECT campaign_id, kind, 0, came.state, false, came.minute, sum(n), NULL
          FROM moved CROSS JOIN LATERAL tally_minutes(moved.state, moved.offered_at, moved.finished_at) AS came
         WHERE kind = 'update' GROUP BY campaign_id, kind, came.state, came.minute HAVING sum(n) <> 0;
    ELSE
        INSERT INTO campaign_tally (campaign_id, kind, wave, state, claimed, minute, vehicles)
        SELECT campaign_id, kind, wave, state, claimed_at IS NOT NULL, '-infinity', -count(*) FROM gone
         GROUP BY campaign_id, kind, wave, state, 5
        UNION ALL
        SELECT campaign_id, kind, 0, came.state, false, came.minute, -count(*)
          FROM gone CROSS JOIN LATERAL tally_minutes(gone.state, gone.offered_at, gone.finished_at) AS came
         WHERE kind = 'update' GROUP BY campaign_id, kind, came.state, came.minute;
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION tally_minutes(state text, offered_at timestamptz, finished_at timestamptz)
RETURNS TABLE (state text, minute timestamptz) LANGUAGE sql IMMUTABLE AS $$
    SELECT came.state, came.minute
      FROM (VALUES ('offered', date_bin('1 minute', $2, '2000-01-01Z')),
                   (CASE WHEN $1 IN ('installed', 'downloaded') THEN 'installed'
                         WHEN $1 IN ('failed', 'rolled_back', 'expired') THEN 'failed' END,
                    date_bin('1 minute', $3, '2000-01-01Z'))) AS came (state, minute)
     WHERE came.state IS NOT NULL AND came.minute IS NOT NULL
$$;

CREATE TRIGGER assignment_added AFTER INSERT ON assignment REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION tally_assignments();
CREATE TRIGGER assignment_moved AFTER UPDATE ON assignment REFERENCING OLD TABLE AS gone NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION tally_assignments();
CREATE TRIGGER assignment_gone AFTER DELETE ON assignment REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION tally_assignments();

-- The triggers keep writers away until this transaction ends, so that nothing is counted twice or missed.
INSERT INTO campaign_tally (campaign_id, kind, wave, state, claimed, minute, vehicles, newest_report_at, folded)
SELECT campaign_id, kind, wave, state, claimed_at IS NOT NULL, '-infinity', count(*), max(last_report_at), true FROM assignment
 GROUP BY campaign_id, kind, wave, state, 5
UNION ALL
SELECT campaign_id, kind, 0, came.state, false, came.minute, count(*), NULL, true
  FROM assignment CROSS JOIN LATERAL tally_minutes(assignment.state, offered_at, finished_at) AS came
 WHERE kind = 'update' GROUP BY campaign_id, kind, came.state, came.minute;

-- A page of a campaign's vehicles is read from the newest on within each wave and state.
CREATE INDEX assignment_page_idx ON assignment (campaign_id, wave, state, (claimed_at IS NOT NULL), action_id DESC);
