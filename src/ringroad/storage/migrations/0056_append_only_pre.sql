-- What a gate decided, and what it decided by, is only ever added to; whoever is at the database included.
CREATE FUNCTION gate_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'what a gate counted, read and decided is append-only' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER gate_decision_append_only BEFORE UPDATE OR DELETE ON gate_decision
    FOR EACH ROW EXECUTE FUNCTION gate_is_append_only();
CREATE TRIGGER gate_decision_no_truncate BEFORE TRUNCATE ON gate_decision
    FOR EACH STATEMENT EXECUTE FUNCTION gate_is_append_only();
CREATE TRIGGER gate_tick_append_only BEFORE UPDATE OR DELETE ON gate_tick
    FOR EACH ROW EXECUTE FUNCTION gate_is_append_only();
CREATE TRIGGER gate_tick_no_truncate BEFORE TRUNCATE ON gate_tick
    FOR EACH STATEMENT EXECUTE FUNCTION gate_is_append_only();
CREATE TRIGGER gate_reading_append_only BEFORE UPDATE OR DELETE ON gate_reading
    FOR EACH ROW EXECUTE FUNCTION gate_is_append_only();
CREATE TRIGGER gate_reading_no_truncate BEFORE TRUNCATE ON gate_reading
    FOR EACH STATEMENT EXECUTE FUNCTION gate_is_append_only();

-- Since when telemetry is silent for a plan that compares what it brings; null while it is not, or compares none.
CREATE FUNCTION telemetry_silent_since(the_plan text) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT silent.event_at FROM (SELECT f.kind, f.event_at FROM fact f
             WHERE f.subject = 'telemetry' AND f.kind IN ('telemetry.lost', 'telemetry.back')
             ORDER BY f.seq DESC LIMIT 1) AS silent
     WHERE silent.kind = 'telemetry.lost' AND EXISTS (
           SELECT 1 FROM campaign_plan p, jsonb_array_elements(p.document #> '{request,gate,sequential,metrics}') AS m
            WHERE p.id = the_plan AND m ->> 'name' NOT IN ('install_failed', 'rolled_back'))
$$;
