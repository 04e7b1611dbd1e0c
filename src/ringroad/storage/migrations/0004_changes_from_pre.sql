-- Whoever changes vehicles or assignments tells the gateways from which number on to look. The numbers of a
-- transaction that took long lie far below those that others committed meanwhile; looking only a little
-- behind the highest number seen missed them. Code of the release before listens to the same channel and
-- reads no payload.
CREATE FUNCTION note_gateway_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(current_setting('ringroad.changed_from', true), '') = '' THEN  -- the transaction's first change
        PERFORM set_config('ringroad.changed_from', nextval('gateway_change')::text, true);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER vehicle_notes BEFORE INSERT OR UPDATE ON vehicle
    FOR EACH STATEMENT EXECUTE FUNCTION note_gateway_change();
CREATE TRIGGER assignment_notes BEFORE INSERT OR UPDATE ON assignment
    FOR EACH STATEMENT EXECUTE FUNCTION note_gateway_change();
CREATE OR REPLACE FUNCTION wake_gateways() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('ringroad_gateway', coalesce(current_setting('ringroad.changed_from', true), ''));
    RETURN NULL;
END $$;
