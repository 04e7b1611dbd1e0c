-- Made from migrations/ by tests/migration; do not edit.
CREATE FUNCTION public.count_configuration() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    NEW.config_generation := OLD.config_generation + 1;
    RETURN NEW;
END $$;
CREATE FUNCTION public.draw_gateway_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    NEW.changed_seq := nextval('gateway_change');
    RETURN NEW;
END $$;
CREATE FUNCTION public.fact_is_append_only() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE FUNCTION public.gate_is_append_only() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'what a gate counted, read and decided is append-only' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TABLE public.device_report (
    id bigint NOT NULL,
    vin text NOT NULL,
    dedupe_key text NOT NULL,
    action_id integer,
    kind text NOT NULL,
    event_at timestamp with time zone NOT NULL,
    received_at timestamp with time zone NOT NULL,
    body jsonb NOT NULL,
    applied_at timestamp with time zone,
    outcome text DEFAULT ''::text NOT NULL
);
CREATE TABLE public.fact (
    seq bigint NOT NULL,
    id text NOT NULL,
    kind text NOT NULL,
    stage text NOT NULL,
    subject text NOT NULL,
    lap_id text,
    causes text[] DEFAULT '{}'::text[] NOT NULL,
    actor text NOT NULL,
    work_started_at timestamp with time zone NOT NULL,
    event_at timestamp with time zone NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    body jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT fact_check CHECK ((work_started_at <= event_at)),
    CONSTRAINT fact_stage_check CHECK ((stage = ANY (ARRAY['signal'::text, 'design'::text, 'build'::text, 'ship'::text, 'adapt'::text, 'house'::text])))
);
CREATE TABLE public.vehicle_manifest (
    id bigint NOT NULL,
    vin text NOT NULL,
    digest text NOT NULL,
    body bytea NOT NULL,
    received_at timestamp with time zone NOT NULL
);
CREATE FUNCTION public.heard_since(vehicle_vin text, since timestamp with time zone) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    BEGIN ATOMIC
 SELECT ((EXISTS ( SELECT
            FROM public.fact f
           WHERE ((f.subject = heard_since.vehicle_vin) AND (f.kind = 'vehicle.enrolled'::text) AND (f.event_at >= heard_since.since)))) OR (EXISTS ( SELECT
            FROM public.device_report d
           WHERE ((d.vin = heard_since.vehicle_vin) AND (d.received_at > heard_since.since)))) OR (EXISTS ( SELECT
            FROM public.vehicle_manifest m
           WHERE ((m.vin = heard_since.vehicle_vin) AND (m.received_at > heard_since.since)))));
END;
CREATE FUNCTION public.is_shut_out(vehicle_vin text, certificates bytea[], certificates_after timestamp with time zone) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN CASE WHEN ((certificates_after IS NOT NULL) AND (certificates = '{}'::bytea[])) THEN (NOT public.heard_since(vehicle_vin, certificates_after)) ELSE false END;
CREATE FUNCTION public.keep_replaced() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO ecu_replaced (vin, serial, image_sha256, filename, version, by_sha256, replaced_at)
    VALUES (OLD.vin, OLD.serial, OLD.image_sha256, OLD.filename, OLD.version, NEW.image_sha256, NEW.reported_at)
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE FUNCTION public.know_campaigns() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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
CREATE FUNCTION public.note_gateway_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF coalesce(current_setting('ringroad.changed_from', true), '') = '' THEN  -- the transaction's first change
        PERFORM set_config('ringroad.changed_from', nextval('gateway_change')::text, true);
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION public.shown_state(state text, claimed boolean) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN (claimed AND (state = ANY (ARRAY['pending'::text, 'offered'::text, 'active'::text, 'cancelling'::text]))) THEN 'claimed'::text ELSE state END;
CREATE FUNCTION public.tally_assignments() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
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
CREATE FUNCTION public.tally_minutes(state text, offered_at timestamp with time zone, finished_at timestamp with time zone) RETURNS TABLE(state text, minute timestamp with time zone)
    LANGUAGE sql IMMUTABLE
    AS $_$
    SELECT came.state, came.minute
      FROM (VALUES ('offered', date_bin('1 minute', $2, '2000-01-01Z')),
                   (CASE WHEN $1 IN ('installed', 'downloaded') THEN 'installed'
                         WHEN $1 IN ('failed', 'rolled_back', 'expired') THEN 'failed' END,
                    date_bin('1 minute', $3, '2000-01-01Z'))) AS came (state, minute)
     WHERE came.state IS NOT NULL AND came.minute IS NOT NULL
$_$;
CREATE FUNCTION public.tally_returns() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN  -- by sums and by the index: what is linear in what moved, whatever plan is kept for it
        WITH came AS MATERIALIZED (
            SELECT campaign_id, vin, kind, wave, sum(n) AS n FROM (
            SELECT campaign_id, vin, kind, wave, 1 AS n FROM added WHERE state = 'installed' AND kind IN ('update', 'rollback')
            UNION ALL
            SELECT campaign_id, vin, kind, wave, -1 FROM gone WHERE state = 'installed' AND kind IN ('update', 'rollback')
            ) AS each GROUP BY campaign_id, vin, kind, wave HAVING sum(n) <> 0
        ), now AS MATERIALIZED (
            SELECT moved.campaign_id, moved.vin, a.kind, a.wave FROM (SELECT DISTINCT campaign_id, vin FROM came) AS moved
             CROSS JOIN LATERAL (
                   SELECT o.kind, o.wave FROM assignment o
                    WHERE o.campaign_id = moved.campaign_id AND o.vin = moved.vin AND o.kind IN ('update', 'rollback')
                      AND o.state = 'installed' OFFSET 0) AS a
        ), known AS (
            SELECT campaign_id, vin, kind, wave, sum(is_now) AS is_now, sum(was) AS was FROM (
            SELECT campaign_id, vin, kind, wave, 1 AS is_now, 1 AS was FROM now
            UNION ALL
            SELECT campaign_id, vin, kind, wave, 0, -n FROM came
            ) AS each GROUP BY campaign_id, vin, kind, wave
        ), pair AS (
            SELECT campaign_id, max(wave) FILTER (WHERE kind = 'update' AND is_now = 1) AS now_wave,
                   max(wave) FILTER (WHERE kind = 'update' AND was = 1) AS old_wave,
                   bool_or(kind = 'rollback' AND is_now = 1) AS now_back, bool_or(kind = 'rollback' AND was = 1) AS old_back
              FROM known GROUP BY campaign_id, vin
        )
        INSERT INTO campaign_tally (campaign_id, kind, wave, state, claimed, minute, vehicles)
        SELECT campaign_id, 'returned', x.wave, 'installed', false, '-infinity', sum(x.n)
          FROM pair CROSS JOIN LATERAL (VALUES (now_wave, now_back, 1), (old_wave, old_back, -1)) AS x (wave, back, n)
         WHERE x.wave IS NOT NULL AND x.back GROUP BY campaign_id, x.wave HAVING sum(x.n) <> 0;
    ELSE
        WITH came AS MATERIALIZED (
            SELECT campaign_id, vin, kind, wave, sum(n) AS n FROM (
            SELECT campaign_id, vin, kind, wave, -1 AS n FROM gone WHERE state = 'installed' AND kind IN ('update', 'rollback')
            ) AS each GROUP BY campaign_id, vin, kind, wave HAVING sum(n) <> 0
        ), now AS MATERIALIZED (
            SELECT moved.campaign_id, moved.vin, a.kind, a.wave FROM (SELECT DISTINCT campaign_id, vin FROM came) AS moved
             CROSS JOIN LATERAL (
                   SELECT o.kind, o.wave FROM assignment o
                    WHERE o.campaign_id = moved.campaign_id AND o.vin = moved.vin AND o.kind IN ('update', 'rollback')
                      AND o.state = 'installed' OFFSET 0) AS a
        ), known AS (
            SELECT campaign_id, vin, kind, wave, sum(is_now) AS is_now, sum(was) AS was FROM (
            SELECT campaign_id, vin, kind, wave, 1 AS is_now, 1 AS was FROM now
            UNION ALL
            SELECT campaign_id, vin, kind, wave, 0, -n FROM came
            ) AS each GROUP BY campaign_id, vin, kind, wave
        ), pair AS (
            SELECT campaign_id, max(wave) FILTER (WHERE kind = 'update' AND is_now = 1) AS now_wave,
                   max(wave) FILTER (WHERE kind = 'update' AND was = 1) AS old_wave,
                   bool_or(kind = 'rollback' AND is_now = 1) AS now_back, bool_or(kind = 'rollback' AND was = 1) AS old_back
              FROM known GROUP BY campaign_id, vin
        )
        INSERT INTO campaign_tally (campaign_id, kind, wave, state, claimed, minute, vehicles)
        SELECT campaign_id, 'returned', x.wave, 'installed', false, '-infinity', sum(x.n)
          FROM pair CROSS JOIN LATERAL (VALUES (now_wave, now_back, 1), (old_wave, old_back, -1)) AS x (wave, back, n)
         WHERE x.wave IS NOT NULL AND x.back GROUP BY campaign_id, x.wave HAVING sum(x.n) <> 0;
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION public.tally_vehicles() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO fleet_tally (programme_id, variant, release_id, blocked, vehicles)
        SELECT programme_id, variant, coalesce(release_id, ''), blocked_reason IS NOT NULL, count(*) FROM added GROUP BY 1, 2, 3, 4;
    ELSIF TG_OP = 'UPDATE' THEN
        INSERT INTO fleet_tally (programme_id, variant, release_id, blocked, vehicles)
        SELECT programme_id, variant, release_id, blocked, sum(n)
          FROM (SELECT programme_id, variant, coalesce(release_id, '') AS release_id, blocked_reason IS NOT NULL AS blocked, 1 AS n FROM added
                UNION ALL
                SELECT programme_id, variant, coalesce(release_id, ''), blocked_reason IS NOT NULL, -1 FROM gone) AS moved
         GROUP BY 1, 2, 3, 4 HAVING sum(n) <> 0;
    ELSE
        INSERT INTO fleet_tally (programme_id, variant, release_id, blocked, vehicles)
        SELECT programme_id, variant, coalesce(release_id, ''), blocked_reason IS NOT NULL, -count(*) FROM gone GROUP BY 1, 2, 3, 4;
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION public.telemetry_silent_since(the_plan text) RETURNS timestamp with time zone
    LANGUAGE sql STABLE
    AS $$
    SELECT silent.event_at FROM (SELECT f.kind, f.event_at FROM fact f
             WHERE f.subject = 'telemetry' AND f.kind IN ('telemetry.lost', 'telemetry.back')
             ORDER BY f.seq DESC LIMIT 1) AS silent
     WHERE silent.kind = 'telemetry.lost' AND EXISTS (
           SELECT 1 FROM campaign_plan p, jsonb_array_elements(p.document #> '{request,gate,sequential,metrics}') AS m
            WHERE p.id = the_plan AND m ->> 'name' NOT IN ('install_failed', 'rolled_back'))
$$;
CREATE FUNCTION public.wake_gateways() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM pg_notify('ringroad_gateway', coalesce(current_setting('ringroad.changed_from', true), ''));
    RETURN NULL;
END $$;
CREATE TABLE public.access_token (
    token_sha256 bytea NOT NULL,
    account_name text NOT NULL,
    kind text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone,
    CONSTRAINT access_token_kind_check CHECK ((kind = ANY (ARRAY['one_time'::text, 'session'::text, 'api'::text])))
);
CREATE TABLE public.account (
    name text NOT NULL,
    role text NOT NULL,
    password_hash text,
    created_at timestamp with time zone NOT NULL,
    disabled_at timestamp with time zone,
    diagnose text DEFAULT ''::text NOT NULL,
    CONSTRAINT account_diagnose_check CHECK ((diagnose = ANY (ARRAY[''::text, 'read'::text, 'service'::text]))),
    CONSTRAINT account_role_check CHECK ((role = ANY (ARRAY['fleet'::text, 'viewer'::text, 'operator'::text, 'approver'::text, 'admin'::text])))
);
CREATE TABLE public.account_fleet (
    account_name text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    CONSTRAINT account_fleet_kind_check CHECK ((kind = ANY (ARRAY['tag'::text, 'list'::text])))
);
CREATE SEQUENCE public.gateway_change
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
CREATE TABLE public.vehicle (
    vin text NOT NULL,
    programme_id text NOT NULL,
    variant text NOT NULL,
    region text DEFAULT ''::text NOT NULL,
    tags text[] DEFAULT '{}'::text[] NOT NULL,
    gateway text NOT NULL,
    token_sha256 bytea NOT NULL,
    primary_serial text NOT NULL,
    attributes jsonb DEFAULT '{}'::jsonb NOT NULL,
    release_id text,
    blocked_reason text,
    born_at timestamp with time zone NOT NULL,
    generation integer DEFAULT 1 NOT NULL,
    changed_seq bigint DEFAULT nextval('public.gateway_change'::regclass) NOT NULL,
    auto_confirm jsonb,
    schedule jsonb,
    certificates bytea[] DEFAULT '{}'::bytea[] NOT NULL,
    certificates_after timestamp with time zone,
    enrolment_sha256 bytea,
    enrolment_until timestamp with time zone,
    certificate_until timestamp with time zone,
    config_generation integer DEFAULT 1 NOT NULL,
    CONSTRAINT vehicle_gateway_check CHECK ((gateway = ANY (ARRAY['native'::text, 'ddi'::text]))),
    CONSTRAINT vehicle_vin_check CHECK ((length(vin) = 17))
);
CREATE TABLE public.vehicle_list_member (
    list_name text NOT NULL,
    vin text NOT NULL
);
CREATE VIEW public.account_vehicle AS
 SELECT f.account_name,
    m.vin
   FROM (public.account_fleet f
     JOIN public.vehicle_list_member m ON (((f.kind = 'list'::text) AND (m.list_name = f.name))))
UNION
 SELECT f.account_name,
    v.vin
   FROM (public.account_fleet f
     JOIN public.vehicle v ON (((f.kind = 'tag'::text) AND (v.tags @> ARRAY[f.name]))));
CREATE TABLE public.artifact_key (
    id text NOT NULL,
    programme_id text NOT NULL,
    supplier text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    sha256 text NOT NULL,
    pem text NOT NULL,
    added_by text NOT NULL,
    added_at timestamp with time zone NOT NULL,
    revoked_by text,
    revoked_at timestamp with time zone
);
CREATE TABLE public.assignment (
    action_id integer NOT NULL,
    campaign_id text NOT NULL,
    vin text NOT NULL,
    wave integer NOT NULL,
    kind text DEFAULT 'update'::text NOT NULL,
    release_id text,
    state text DEFAULT 'pending'::text NOT NULL,
    state_detail text DEFAULT ''::text NOT NULL,
    previous_release_id text,
    released_at timestamp with time zone,
    bundle text DEFAULT ''::text NOT NULL,
    offered_at timestamp with time zone,
    deadline_at timestamp with time zone,
    began_at timestamp with time zone,
    last_report_at timestamp with time zone,
    finished_at timestamp with time zone,
    generation integer DEFAULT 1 NOT NULL,
    changed_seq bigint DEFAULT nextval('public.gateway_change'::regclass) NOT NULL,
    consented_at timestamp with time zone,
    attempt integer DEFAULT 1 NOT NULL,
    not_before timestamp with time zone,
    step integer DEFAULT 0 NOT NULL,
    claimed_at timestamp with time zone,
    packages jsonb,
    config_generation integer,
    CONSTRAINT assignment_bundle_check CHECK ((bundle = ANY (ARRAY[''::text, 'issued'::text, 'withdrawn'::text]))),
    CONSTRAINT assignment_kind_check CHECK ((kind = ANY (ARRAY['update'::text, 'rollback'::text, 'step'::text]))),
    CONSTRAINT assignment_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'offered'::text, 'active'::text, 'cancelling'::text, 'installed'::text, 'downloaded'::text, 'failed'::text, 'rolled_back'::text, 'cancelled'::text, 'expired'::text])))
);
ALTER TABLE public.assignment ALTER COLUMN action_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.assignment_action_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.campaign (
    id text NOT NULL,
    name text NOT NULL,
    release_id text NOT NULL,
    lap_id text,
    state text NOT NULL,
    state_reason text DEFAULT ''::text NOT NULL,
    state_at timestamp with time zone,
    wave integer DEFAULT 0 NOT NULL,
    plan_id text,
    generation integer DEFAULT 1 NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    swept_at timestamp with time zone,
    CONSTRAINT campaign_state_check CHECK ((state = ANY (ARRAY['draft'::text, 'planned'::text, 'approved'::text, 'running'::text, 'paused'::text, 'halted'::text, 'aborted'::text, 'finished'::text])))
);
CREATE TABLE public.campaign_plan (
    id text NOT NULL,
    campaign_id text NOT NULL,
    generation integer NOT NULL,
    parent_id text,
    document jsonb NOT NULL,
    findings jsonb NOT NULL,
    made_by text NOT NULL,
    made_at timestamp with time zone NOT NULL,
    approved_by text,
    approved_at timestamp with time zone
);
CREATE TABLE public.release (
    id text NOT NULL,
    programme_id text NOT NULL,
    name text NOT NULL,
    version text NOT NULL,
    state text NOT NULL,
    change_id text,
    lap_id text,
    document jsonb NOT NULL,
    findings jsonb DEFAULT '[]'::jsonb NOT NULL,
    generation integer DEFAULT 1 NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    signed_at timestamp with time zone,
    downgrades jsonb,
    CONSTRAINT release_state_check CHECK ((state = ANY (ARRAY['draft'::text, 'checked'::text, 'signed'::text, 'withdrawn'::text])))
);
CREATE VIEW public.assignment_shown AS
 SELECT a.action_id,
    a.campaign_id,
    c.name AS campaign_name,
    a.vin,
    a.wave,
    a.kind,
    public.shown_state(a.state, (a.claimed_at IS NOT NULL)) AS state,
    a.state_detail,
    a.claimed_at,
    a.offered_at,
    a.deadline_at,
    a.last_report_at,
    a.finished_at,
    c.state AS campaign_state,
    a.attempt,
    a.not_before,
    (a.released_at IS NOT NULL) AS released,
    COALESCE(via.version, r.version) AS release_version,
    (v.attributes ->> 'time_zone'::text) AS time_zone,
    ((p.document ->> 'install_s_estimate'::text))::integer AS install_s,
        CASE
            WHEN ((a.kind <> 'rollback'::text) AND (a.state = ANY (ARRAY['pending'::text, 'offered'::text]))) THEN NULLIF(((p.document -> 'request'::text) -> 'window'::text), 'null'::jsonb)
            ELSE NULL::jsonb
        END AS "window",
        CASE
            WHEN ((a.kind <> 'rollback'::text) AND (a.state = ANY (ARRAY['pending'::text, 'offered'::text]))) THEN v.schedule
            ELSE NULL::jsonb
        END AS own_window,
    ((a.state = ANY (ARRAY['pending'::text, 'offered'::text])) AND (a.offered_at IS NOT NULL) AND (c.state = 'running'::text) AND (a.consented_at IS NULL) AND (v.gateway = 'ddi'::text) AND (v.auto_confirm IS NULL) AND COALESCE((((p.document -> 'request'::text) ->> 'consent'::text))::boolean, false)) AS asked
   FROM (((((public.assignment a
     JOIN public.campaign c ON ((c.id = a.campaign_id)))
     JOIN public.release r ON ((r.id = c.release_id)))
     JOIN public.vehicle v ON ((v.vin = a.vin)))
     LEFT JOIN public.campaign_plan p ON ((p.id = c.plan_id)))
     LEFT JOIN public.release via ON (((a.kind = 'step'::text) AND (via.id = a.release_id))));
CREATE TABLE public.birth_record (
    vin text NOT NULL,
    sha256 text NOT NULL,
    record bytea NOT NULL,
    key_id text DEFAULT ''::text NOT NULL,
    made_at timestamp with time zone NOT NULL
);
CREATE TABLE public.birth_trait (
    programme_id text NOT NULL,
    kind text NOT NULL,
    thing text NOT NULL,
    value text NOT NULL,
    vin text NOT NULL,
    station text DEFAULT ''::text NOT NULL
);
CREATE TABLE public.blocked_option (
    programme_id text NOT NULL,
    option text NOT NULL,
    reason text NOT NULL,
    since timestamp with time zone NOT NULL
);
CREATE TABLE public.built_part (
    programme_id text NOT NULL,
    event_id text NOT NULL,
    order_id text NOT NULL,
    station text NOT NULL,
    part text NOT NULL,
    lot text NOT NULL,
    serial text DEFAULT ''::text NOT NULL,
    supplier text DEFAULT ''::text NOT NULL,
    fitted_at timestamp with time zone NOT NULL,
    told_by text NOT NULL,
    told_at timestamp with time zone NOT NULL
);
CREATE TABLE public.campaign_resolution (
    plan_id text NOT NULL,
    number integer NOT NULL,
    kind bytea NOT NULL,
    stratum text NOT NULL,
    vehicles integer NOT NULL,
    example text NOT NULL,
    verdict text NOT NULL,
    reason text NOT NULL,
    sentence text NOT NULL,
    steps text[] NOT NULL,
    install_bytes bigint NOT NULL,
    install_s integer NOT NULL
);
CREATE TABLE public.campaign_tally (
    id bigint NOT NULL,
    campaign_id text NOT NULL,
    kind text NOT NULL,
    wave integer NOT NULL,
    state text NOT NULL,
    claimed boolean NOT NULL,
    minute timestamp with time zone NOT NULL,
    vehicles bigint NOT NULL,
    newest_report_at timestamp with time zone,
    folded boolean DEFAULT false NOT NULL
);
ALTER TABLE public.campaign_tally ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.campaign_tally_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.campaign_target (
    plan_id text NOT NULL,
    vin text NOT NULL,
    verdict text NOT NULL,
    reason text NOT NULL,
    wave integer NOT NULL,
    rank integer DEFAULT 0 NOT NULL,
    resolution integer DEFAULT 0 NOT NULL,
    config_generation integer,
    let_go_at timestamp with time zone,
    let_go_reason text DEFAULT ''::text NOT NULL,
    joined_at timestamp with time zone,
    CONSTRAINT campaign_target_verdict_check CHECK ((verdict = ANY (ARRAY['match'::text, 'control'::text, 'already_installed'::text, 'mismatch'::text, 'unknown'::text])))
);
CREATE TABLE public.change (
    id text NOT NULL,
    finding_id text NOT NULL,
    lap_id text NOT NULL,
    title text NOT NULL,
    ecu text NOT NULL,
    target text NOT NULL,
    state text NOT NULL,
    state_reason text DEFAULT ''::text NOT NULL,
    generation integer DEFAULT 1 NOT NULL,
    proposed_by text NOT NULL,
    approved_by text,
    proposed_at timestamp with time zone NOT NULL,
    approved_at timestamp with time zone,
    CONSTRAINT change_state_check CHECK ((state = ANY (ARRAY['proposed'::text, 'approved'::text, 'rejected'::text, 'done'::text])))
);
CREATE TABLE public.claim (
    id text NOT NULL,
    programme_id text NOT NULL,
    vin text NOT NULL,
    part text DEFAULT ''::text NOT NULL,
    fault_code text DEFAULT ''::text NOT NULL,
    body text DEFAULT ''::text NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    told_by text NOT NULL,
    told_at timestamp with time zone NOT NULL
);
CREATE TABLE public.complaint (
    id text NOT NULL,
    source text NOT NULL,
    make text NOT NULL,
    model text NOT NULL,
    model_year integer,
    component text NOT NULL,
    vin_prefix text DEFAULT ''::text NOT NULL,
    occurred_on date,
    received_on date,
    text text NOT NULL,
    row_sha256 text NOT NULL,
    imported_at timestamp with time zone NOT NULL
);
CREATE TABLE public.contained_lot (
    id text NOT NULL,
    programme_id text NOT NULL,
    part text NOT NULL,
    lot text NOT NULL,
    reason text NOT NULL,
    contained_at timestamp with time zone NOT NULL,
    contained_by text NOT NULL,
    released_at timestamp with time zone,
    released_by text DEFAULT ''::text NOT NULL,
    release_reason text DEFAULT ''::text NOT NULL
);
CREATE TABLE public.demand_book (
    programme_id text NOT NULL,
    plants text[] NOT NULL,
    regions text[] NOT NULL,
    horizon integer NOT NULL,
    holding_milli integer NOT NULL,
    shortage_milli integer NOT NULL,
    count_orders boolean NOT NULL,
    generation integer NOT NULL,
    set_by text NOT NULL,
    set_at timestamp with time zone NOT NULL,
    usage jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT demand_book_holding_milli_check CHECK ((holding_milli > 0)),
    CONSTRAINT demand_book_horizon_check CHECK (((horizon >= 1) AND (horizon <= 24))),
    CONSTRAINT demand_book_shortage_milli_check CHECK ((shortage_milli > 0))
);
CREATE TABLE public.demand_forecast (
    run_id text NOT NULL,
    option text NOT NULL,
    plant text NOT NULL,
    region text NOT NULL,
    model text NOT NULL,
    is_sum boolean NOT NULL,
    told jsonb NOT NULL,
    months jsonb NOT NULL,
    samples bytea NOT NULL
);
CREATE TABLE public.demand_month (
    programme_id text NOT NULL,
    option text NOT NULL,
    plant text NOT NULL,
    region text NOT NULL,
    model text NOT NULL,
    month date NOT NULL,
    units integer NOT NULL,
    source text NOT NULL,
    told_at timestamp with time zone NOT NULL,
    CONSTRAINT demand_month_units_check CHECK ((units >= 0))
);
CREATE TABLE public.demand_run (
    id text NOT NULL,
    programme_id text NOT NULL,
    state text NOT NULL,
    options integer DEFAULT 0 NOT NULL,
    options_done integer DEFAULT 0 NOT NULL,
    engine text DEFAULT ''::text NOT NULL,
    horizon integer DEFAULT 0 NOT NULL,
    first_month date,
    grades jsonb DEFAULT '{}'::jsonb NOT NULL,
    signals jsonb DEFAULT '{}'::jsonb NOT NULL,
    shifts jsonb DEFAULT '[]'::jsonb NOT NULL,
    error text DEFAULT ''::text NOT NULL,
    asked_by text NOT NULL,
    asked_at timestamp with time zone NOT NULL,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    CONSTRAINT demand_run_state_check CHECK ((state = ANY (ARRAY['asked'::text, 'running'::text, 'done'::text, 'failed'::text])))
);
CREATE TABLE public.demand_signal (
    programme_id text NOT NULL,
    id text NOT NULL,
    kind text NOT NULL,
    option text NOT NULL,
    plant text NOT NULL,
    region text NOT NULL,
    model text NOT NULL,
    month date NOT NULL,
    value double precision NOT NULL,
    elapsed_permille integer NOT NULL,
    source text NOT NULL,
    fact_id text NOT NULL,
    told_at timestamp with time zone NOT NULL,
    CONSTRAINT demand_signal_value_check CHECK ((value >= (0)::double precision))
);
ALTER TABLE public.device_report ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.device_report_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.diagnostic_job (
    id text NOT NULL,
    session_id text NOT NULL,
    vin text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    body jsonb NOT NULL,
    state text NOT NULL,
    made_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    tries integer DEFAULT 0 NOT NULL,
    next_at timestamp with time zone NOT NULL,
    status integer,
    answer jsonb,
    answered_at timestamp with time zone,
    CONSTRAINT diagnostic_job_state_check CHECK ((state = ANY (ARRAY['queued'::text, 'answered'::text, 'expired'::text, 'cancelled'::text])))
);
CREATE TABLE public.diagnostic_sample (
    job_id text NOT NULL,
    number integer NOT NULL,
    at timestamp with time zone NOT NULL,
    data jsonb NOT NULL,
    CONSTRAINT diagnostic_sample_number_check CHECK ((number > 0))
);
CREATE TABLE public.diagnostic_session (
    id text NOT NULL,
    vin text NOT NULL,
    account text NOT NULL,
    scope text NOT NULL,
    reason text NOT NULL,
    state text NOT NULL,
    consent text DEFAULT ''::text NOT NULL,
    asked_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    ended_at timestamp with time zone,
    CONSTRAINT diagnostic_session_scope_check CHECK ((scope = ANY (ARRAY['read'::text, 'service'::text]))),
    CONSTRAINT diagnostic_session_state_check CHECK ((state = ANY (ARRAY['asked'::text, 'open'::text, 'declined'::text, 'closed'::text, 'expired'::text])))
);
CREATE TABLE public.ecu (
    vin text NOT NULL,
    serial text NOT NULL,
    name text NOT NULL,
    hardware_id text NOT NULL,
    public_key jsonb NOT NULL,
    key_id text NOT NULL,
    is_primary boolean NOT NULL,
    added_at timestamp with time zone NOT NULL,
    removed_at timestamp with time zone
);
CREATE TABLE public.ecu_installed (
    vin text NOT NULL,
    serial text NOT NULL,
    filename text NOT NULL,
    version text NOT NULL,
    image_sha256 text NOT NULL,
    reported_at timestamp with time zone NOT NULL,
    first_at timestamp with time zone
);
CREATE TABLE public.ecu_names (
    programme_id text NOT NULL,
    ecu text NOT NULL,
    data jsonb NOT NULL,
    faults jsonb NOT NULL,
    source text NOT NULL,
    digest text NOT NULL,
    imported_by text NOT NULL,
    imported_at timestamp with time zone NOT NULL
);
CREATE TABLE public.ecu_replaced (
    vin text NOT NULL,
    serial text NOT NULL,
    image_sha256 text NOT NULL,
    filename text NOT NULL,
    version text NOT NULL,
    by_sha256 text NOT NULL,
    replaced_at timestamp with time zone NOT NULL
);
ALTER TABLE public.fact ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.fact_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.field_trace (
    source text NOT NULL,
    source_id text NOT NULL,
    vin text NOT NULL,
    programme_id text NOT NULL,
    part text DEFAULT ''::text NOT NULL,
    lot text DEFAULT ''::text NOT NULL,
    supplier text DEFAULT ''::text NOT NULL,
    software_version text DEFAULT ''::text NOT NULL,
    station text DEFAULT ''::text NOT NULL,
    gate_station text DEFAULT ''::text NOT NULL,
    gate text DEFAULT ''::text NOT NULL,
    reason text NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    traced_at timestamp with time zone NOT NULL,
    CONSTRAINT field_trace_source_check CHECK ((source = ANY (ARRAY['claim'::text, 'finding'::text])))
);
CREATE TABLE public.finding (
    id text NOT NULL,
    lap_id text NOT NULL,
    title text NOT NULL,
    programme_id text NOT NULL,
    ecu text NOT NULL,
    software_version text NOT NULL,
    fault_code text NOT NULL,
    state text NOT NULL,
    state_reason text DEFAULT ''::text NOT NULL,
    evidence jsonb NOT NULL,
    generation integer DEFAULT 1 NOT NULL,
    opened_at timestamp with time zone NOT NULL,
    closed_at timestamp with time zone,
    CONSTRAINT finding_state_check CHECK ((state = ANY (ARRAY['open'::text, 'accepted'::text, 'rejected'::text, 'closed'::text])))
);
CREATE TABLE public.fleet_tally (
    id bigint NOT NULL,
    programme_id text NOT NULL,
    variant text NOT NULL,
    release_id text NOT NULL,
    blocked boolean NOT NULL,
    vehicles bigint NOT NULL,
    folded boolean DEFAULT false NOT NULL
);
ALTER TABLE public.fleet_tally ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.fleet_tally_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.gate_decision (
    id bigint NOT NULL,
    campaign_id text NOT NULL,
    wave integer NOT NULL,
    decision text NOT NULL,
    reason text NOT NULL,
    facts jsonb NOT NULL,
    policy jsonb NOT NULL,
    decided_at timestamp with time zone NOT NULL
);
ALTER TABLE public.gate_decision ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.gate_decision_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.gate_draw (
    programme_id text NOT NULL,
    order_id text NOT NULL,
    station text NOT NULL,
    gate text NOT NULL,
    inspect boolean NOT NULL,
    permille integer NOT NULL,
    reason text NOT NULL,
    drawn_at timestamp with time zone NOT NULL,
    told_at timestamp with time zone,
    every boolean DEFAULT false NOT NULL,
    CONSTRAINT gate_draw_permille_check CHECK (((permille >= 0) AND (permille <= 1000)))
);
CREATE TABLE public.gate_reading (
    id bigint NOT NULL,
    campaign_id text NOT NULL,
    through_us bigint NOT NULL,
    last_tick_id bigint NOT NULL,
    readings jsonb NOT NULL,
    policy jsonb NOT NULL,
    refused text DEFAULT ''::text NOT NULL,
    read_at timestamp with time zone NOT NULL
);
ALTER TABLE public.gate_reading ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.gate_reading_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.gate_seed (
    programme_id text NOT NULL,
    seed bytea NOT NULL,
    made_at timestamp with time zone NOT NULL
);
CREATE TABLE public.gate_tick (
    id bigint NOT NULL,
    campaign_id text NOT NULL,
    metric text NOT NULL,
    tick bigint NOT NULL,
    stratum text NOT NULL,
    counts jsonb NOT NULL,
    recorded_at timestamp with time zone NOT NULL
);
ALTER TABLE public.gate_tick ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.gate_tick_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.gateway_token (
    id text NOT NULL,
    name text NOT NULL,
    token_sha256 bytea NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    revoked_by text,
    revoked_at timestamp with time zone
);
CREATE TABLE public.image_delta (
    to_sha256 text NOT NULL,
    from_sha256 text NOT NULL,
    ecu_class text NOT NULL,
    release_id text NOT NULL,
    state text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    algorithm text DEFAULT ''::text NOT NULL,
    sha256 text,
    sha512 text,
    delta_bytes bigint,
    image_bytes bigint NOT NULL,
    made_at timestamp with time zone NOT NULL,
    CONSTRAINT image_delta_check CHECK (((state = 'ready'::text) = ((sha256 IS NOT NULL) AND (sha512 IS NOT NULL) AND (delta_bytes IS NOT NULL)))),
    CONSTRAINT image_delta_delta_bytes_check CHECK ((delta_bytes > 0)),
    CONSTRAINT image_delta_ecu_class_check CHECK ((ecu_class = ANY (ARRAY['linux'::text, 'mcu'::text]))),
    CONSTRAINT image_delta_state_check CHECK ((state = ANY (ARRAY['ready'::text, 'left_out'::text])))
);
CREATE VIEW public.kept_vehicle AS
 SELECT a.campaign_id,
    a.vin,
    a.wave,
    a.previous_release_id,
    c.release_id
   FROM ((public.assignment a
     JOIN public.campaign c ON ((c.id = a.campaign_id)))
     JOIN public.vehicle v ON ((v.vin = a.vin)))
  WHERE ((a.kind = 'update'::text) AND ((a.state = 'installed'::text) OR ((a.finished_at IS NOT NULL) AND (a.offered_at IS NOT NULL) AND (v.release_id = c.release_id))) AND (NOT (EXISTS ( SELECT
           FROM public.assignment b
          WHERE ((b.campaign_id = a.campaign_id) AND (b.vin = a.vin) AND (b.kind = 'rollback'::text) AND ((b.state <> ALL (ARRAY['failed'::text, 'rolled_back'::text, 'cancelled'::text, 'expired'::text])) OR (v.release_id IS DISTINCT FROM c.release_id)))))));
CREATE TABLE public.lap (
    id text NOT NULL,
    title text NOT NULL,
    opened_at timestamp with time zone NOT NULL
);
CREATE TABLE public.leg_outlook (
    programme_id text NOT NULL,
    told bigint NOT NULL,
    seen bigint NOT NULL,
    document jsonb NOT NULL,
    made_at timestamp with time zone
);
CREATE TABLE public.line_baseline (
    programme_id text NOT NULL,
    release_id text NOT NULL,
    packages jsonb DEFAULT '{}'::jsonb NOT NULL,
    generation integer DEFAULT 1 NOT NULL,
    set_at timestamp with time zone NOT NULL,
    rxswins jsonb DEFAULT '{}'::jsonb NOT NULL
);
CREATE TABLE public.line_check (
    id text NOT NULL,
    programme_id text NOT NULL,
    schedule_id text NOT NULL,
    generation integer NOT NULL,
    released boolean NOT NULL,
    reason text NOT NULL,
    better_permille integer NOT NULL,
    replications integer NOT NULL,
    vehicles integer NOT NULL,
    moved integer NOT NULL,
    checked_us bigint NOT NULL,
    worked_us bigint NOT NULL,
    document jsonb NOT NULL,
    checked_at timestamp with time zone NOT NULL
);
CREATE TABLE public.line_schedule (
    id text NOT NULL,
    programme_id text NOT NULL,
    generation integer NOT NULL,
    parent_id text,
    cause text NOT NULL,
    document jsonb NOT NULL,
    replan_latency_us bigint NOT NULL,
    made_at timestamp with time zone NOT NULL
);
CREATE TABLE public.line_state (
    programme_id text NOT NULL,
    "position" bigint NOT NULL,
    state jsonb NOT NULL,
    made_at timestamp with time zone NOT NULL
);
CREATE TABLE public.line_stop (
    id text NOT NULL,
    programme_id text NOT NULL,
    station text NOT NULL,
    kind text NOT NULL,
    reason text NOT NULL,
    options text[] NOT NULL,
    event_id text NOT NULL,
    began_at timestamp with time zone NOT NULL,
    expected_s integer NOT NULL,
    stopped_by text NOT NULL,
    ended_at timestamp with time zone,
    ended_by text,
    CONSTRAINT line_stop_expected_s_check CHECK ((expected_s > 0)),
    CONSTRAINT line_stop_kind_check CHECK ((kind = ANY (ARRAY['breakdown'::text, 'quality'::text])))
);
CREATE TABLE public.line_what_if (
    id text NOT NULL,
    programme_id text NOT NULL,
    station text NOT NULL,
    down_s integer NOT NULL,
    asked_by text NOT NULL,
    asked_at timestamp with time zone NOT NULL,
    generation integer,
    answer jsonb,
    answered_at timestamp with time zone,
    CONSTRAINT line_what_if_down_s_check CHECK ((down_s > 0))
);
CREATE TABLE public.mes_event (
    programme_id text NOT NULL,
    "position" bigint NOT NULL,
    event_id text NOT NULL,
    order_id text NOT NULL,
    station text NOT NULL,
    kind text NOT NULL,
    body jsonb NOT NULL,
    at timestamp with time zone NOT NULL,
    seq bigint NOT NULL,
    received_at timestamp with time zone NOT NULL,
    CONSTRAINT mes_event_position_check CHECK (("position" > 0))
);
CREATE TABLE public.mes_refused (
    seq bigint NOT NULL,
    received_at timestamp with time zone NOT NULL,
    programme_id text NOT NULL,
    event_id text NOT NULL,
    order_id text NOT NULL,
    station text NOT NULL,
    code text NOT NULL,
    reason text NOT NULL,
    raw bytea NOT NULL
);
CREATE TABLE public.milestone_refused (
    programme_id text NOT NULL,
    number bigint NOT NULL,
    event_id text NOT NULL,
    shipment text NOT NULL,
    milestone text NOT NULL,
    at timestamp with time zone NOT NULL,
    reason text NOT NULL,
    told_by text NOT NULL,
    refused_at timestamp with time zone NOT NULL
);
ALTER TABLE public.milestone_refused ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.milestone_refused_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.outcome (
    id text NOT NULL,
    campaign_id text NOT NULL,
    finding_id text NOT NULL,
    lap_id text NOT NULL,
    verdict text NOT NULL,
    measure jsonb NOT NULL,
    measured_at timestamp with time zone NOT NULL,
    CONSTRAINT outcome_verdict_check CHECK ((verdict = ANY (ARRAY['better'::text, 'worse'::text, 'recovered'::text, 'not_recovered'::text, 'unknown'::text])))
);
CREATE TABLE public.plant (
    id text NOT NULL,
    generation integer NOT NULL,
    structure_sha256 text NOT NULL,
    parameters_sha256 text NOT NULL,
    document jsonb NOT NULL,
    made_by text NOT NULL,
    made_at timestamp with time zone NOT NULL,
    CONSTRAINT plant_generation_check CHECK ((generation > 0))
);
CREATE TABLE public.plant_order (
    id text NOT NULL,
    programme_id text NOT NULL,
    variant text NOT NULL,
    options text[] DEFAULT '{}'::text[] NOT NULL,
    region text DEFAULT ''::text NOT NULL,
    rush boolean DEFAULT false NOT NULL,
    due_at timestamp with time zone,
    state text DEFAULT 'open'::text NOT NULL,
    vin text,
    received_at timestamp with time zone NOT NULL,
    earliest_at timestamp with time zone,
    CONSTRAINT plant_order_state_check CHECK ((state = ANY (ARRAY['open'::text, 'building'::text, 'born'::text, 'cancelled'::text])))
);
CREATE TABLE public.plant_proposal (
    id text NOT NULL,
    parent_id text NOT NULL,
    clone_id text NOT NULL,
    what text NOT NULL,
    sha256 text NOT NULL,
    state text NOT NULL,
    generation integer DEFAULT 1 NOT NULL,
    document jsonb NOT NULL,
    proof jsonb,
    trial jsonb,
    plant_generation integer,
    proposed_by text NOT NULL,
    proposed_at timestamp with time zone NOT NULL,
    decided_by text,
    decided_at timestamp with time zone,
    ended_at timestamp with time zone,
    CONSTRAINT plant_proposal_state_check CHECK ((state = ANY (ARRAY['open'::text, 'proved'::text, 'refused'::text, 'rejected'::text, 'trial'::text, 'kept'::text, 'withdrawn'::text]))),
    CONSTRAINT plant_proposal_what_check CHECK ((what = ANY (ARRAY['station'::text, 'balance'::text, 'buffer'::text])))
);
CREATE TABLE public.programme (
    id text NOT NULL,
    digest text NOT NULL,
    source text NOT NULL,
    document jsonb NOT NULL,
    generation integer DEFAULT 1 NOT NULL,
    imported_at timestamp with time zone NOT NULL,
    plant_id text
);
CREATE TABLE public.quality_alarm (
    id text NOT NULL,
    programme_id text NOT NULL,
    plant_id text NOT NULL,
    station text NOT NULL,
    kind text NOT NULL,
    value text NOT NULL,
    evidence jsonb NOT NULL,
    finding_id text,
    opened_at timestamp with time zone NOT NULL,
    closed_at timestamp with time zone,
    closed_by text DEFAULT ''::text NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    CONSTRAINT quality_alarm_kind_check CHECK ((kind = ANY (ARRAY['station'::text, 'variant'::text, 'software'::text, 'lot'::text])))
);
CREATE TABLE public.quality_day (
    programme_id text NOT NULL,
    day date NOT NULL,
    vehicles bigint NOT NULL,
    counted_at timestamp with time zone NOT NULL
);
CREATE TABLE public.quality_day_gate (
    programme_id text NOT NULL,
    day date NOT NULL,
    station text NOT NULL,
    gate text NOT NULL,
    inspected bigint NOT NULL,
    refused bigint NOT NULL
);
CREATE TABLE public.quality_day_pass (
    programme_id text NOT NULL,
    day date NOT NULL,
    station text NOT NULL,
    variant text NOT NULL,
    software text NOT NULL,
    lots jsonb NOT NULL,
    vehicles bigint NOT NULL,
    failed bigint NOT NULL
);
CREATE TABLE public.quality_late (
    programme_id text NOT NULL,
    station text NOT NULL,
    period integer NOT NULL,
    first_at timestamp with time zone NOT NULL,
    newest_at timestamp with time zone NOT NULL
);
CREATE TABLE public.quality_watch (
    programme_id text NOT NULL,
    station text NOT NULL,
    kind text NOT NULL,
    value text NOT NULL,
    period integer NOT NULL,
    number bigint NOT NULL,
    CONSTRAINT quality_watch_number_check CHECK ((number > 0))
);
CREATE TABLE public.quarantine (
    id bigint NOT NULL,
    source text NOT NULL,
    locator text NOT NULL,
    reason text NOT NULL,
    raw bytea NOT NULL,
    received_at timestamp with time zone NOT NULL
);
ALTER TABLE public.quarantine ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.quarantine_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.repository_metadata (
    repository text NOT NULL,
    vin text DEFAULT ''::text NOT NULL,
    role text NOT NULL,
    version integer NOT NULL,
    bytes bytea NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    written_at timestamp with time zone NOT NULL,
    CONSTRAINT repository_metadata_repository_check CHECK ((repository = ANY (ARRAY['image'::text, 'director'::text]))),
    CONSTRAINT repository_metadata_version_check CHECK ((0 < version))
);
CREATE TABLE public.schema_migration (
    name text NOT NULL,
    digest text NOT NULL,
    applied_at timestamp with time zone NOT NULL
);
CREATE TABLE public.shipment (
    id text NOT NULL,
    programme_id text NOT NULL,
    name text NOT NULL,
    leg text NOT NULL,
    of_class text NOT NULL,
    part text NOT NULL,
    order_ids text[] NOT NULL,
    milestones text[] NOT NULL,
    planned timestamp with time zone[] NOT NULL,
    told timestamp with time zone[] NOT NULL,
    lost text NOT NULL,
    generation integer NOT NULL,
    announced_at timestamp with time zone NOT NULL,
    announced_by text NOT NULL,
    CONSTRAINT shipment_generation_check CHECK ((generation > 0))
);
CREATE TABLE public.shipment_milestone (
    programme_id text NOT NULL,
    event_id text NOT NULL,
    shipment_id text NOT NULL,
    milestone text NOT NULL,
    at timestamp with time zone NOT NULL,
    told_at timestamp with time zone NOT NULL,
    told_by text NOT NULL
);
CREATE TABLE public.shop_plan (
    id text NOT NULL,
    plant_id text NOT NULL,
    shop text NOT NULL,
    generation integer NOT NULL,
    parent_id text,
    cause text NOT NULL,
    plant_generation integer NOT NULL,
    origin_at timestamp with time zone NOT NULL,
    problem jsonb NOT NULL,
    document jsonb NOT NULL,
    replan_latency_us bigint NOT NULL,
    made_by text NOT NULL,
    made_at timestamp with time zone NOT NULL,
    CONSTRAINT shop_plan_generation_check CHECK ((generation > 0)),
    CONSTRAINT shop_plan_replan_latency_us_check CHECK ((replan_latency_us >= 0))
);
CREATE TABLE public.shop_stop (
    id text NOT NULL,
    plant_id text NOT NULL,
    shop text NOT NULL,
    resource text NOT NULL,
    reason text NOT NULL,
    began_at timestamp with time zone NOT NULL,
    expected_s integer NOT NULL,
    stopped_by text NOT NULL,
    ended_at timestamp with time zone,
    ended_by text,
    CONSTRAINT shop_stop_expected_s_check CHECK ((expected_s > 0))
);
CREATE TABLE public.shop_work (
    plant_id text NOT NULL,
    shop text NOT NULL,
    generation integer NOT NULL,
    stage text NOT NULL,
    cause text NOT NULL,
    moves bigint NOT NULL,
    budget integer NOT NULL,
    bound jsonb DEFAULT '{}'::jsonb NOT NULL,
    note text DEFAULT ''::text NOT NULL,
    asked_by text NOT NULL,
    asked_at timestamp with time zone NOT NULL,
    changed_at timestamp with time zone NOT NULL,
    CONSTRAINT shop_work_stage_check CHECK ((stage = ANY (ARRAY['asked'::text, 'searching'::text, 'proving'::text, 'done'::text, 'failed'::text])))
);
CREATE TABLE public.site (
    id text NOT NULL,
    token_sha256 bytea NOT NULL,
    generation integer DEFAULT 1 NOT NULL,
    added_by text NOT NULL,
    added_at timestamp with time zone NOT NULL,
    removed_at timestamp with time zone,
    waiting bigint DEFAULT 0 NOT NULL,
    heard_at timestamp with time zone,
    reconciled_at timestamp with time zone,
    births_waiting bigint DEFAULT 0 NOT NULL
);
CREATE TABLE public.site_aside (
    site_id text NOT NULL,
    sha256 text NOT NULL,
    programme_id text NOT NULL,
    what text NOT NULL,
    number bigint NOT NULL,
    told bytea NOT NULL,
    code text NOT NULL,
    reason text NOT NULL,
    told_at timestamp with time zone NOT NULL,
    settled_at timestamp with time zone,
    settled_by text,
    CONSTRAINT site_aside_what_check CHECK ((what = ANY (ARRAY['event'::text, 'stop'::text])))
);
CREATE TABLE public.site_birth (
    number bigint NOT NULL,
    vin text NOT NULL,
    told bytea NOT NULL,
    at timestamp with time zone NOT NULL
);
CREATE TABLE public.site_birth_refused (
    site_id text NOT NULL,
    vin text NOT NULL,
    sha256 text NOT NULL,
    told bytea NOT NULL,
    code text NOT NULL,
    reason text NOT NULL,
    told_at timestamp with time zone NOT NULL,
    settled_at timestamp with time zone,
    settled_by text
);
CREATE TABLE public.site_conflict (
    site_id text NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    reason text NOT NULL,
    at timestamp with time zone NOT NULL
);
CREATE TABLE public.site_key (
    site_id text NOT NULL,
    key_id text NOT NULL,
    certificate bytea NOT NULL,
    issued_at timestamp with time zone NOT NULL,
    expires_at timestamp with time zone NOT NULL
);
CREATE TABLE public.site_place (
    name text NOT NULL,
    number bigint NOT NULL,
    at timestamp with time zone NOT NULL
);
CREATE TABLE public.site_trust (
    name text NOT NULL,
    bytes bytea NOT NULL,
    at timestamp with time zone NOT NULL
);
CREATE TABLE public.site_vin (
    site_id text NOT NULL,
    plant text NOT NULL
);
CREATE TABLE public.software_package (
    id text NOT NULL,
    programme_id text NOT NULL,
    ecu text NOT NULL,
    name text NOT NULL,
    version text NOT NULL,
    filename text NOT NULL,
    format text NOT NULL,
    hardware_ids text[] NOT NULL,
    image_sha256 text NOT NULL,
    image_sha512 text NOT NULL,
    image_bytes bigint NOT NULL,
    release_counter integer NOT NULL,
    facts jsonb DEFAULT '{}'::jsonb NOT NULL,
    requires jsonb DEFAULT '[]'::jsonb NOT NULL,
    added_at timestamp with time zone NOT NULL,
    conflicts jsonb DEFAULT '[]'::jsonb NOT NULL,
    upgrades_from text DEFAULT '*'::text NOT NULL,
    CONSTRAINT software_package_format_check CHECK ((format = ANY (ARRAY['bin'::text, 'ihex'::text, 'srec'::text, 'mcuboot'::text, 'swu'::text, 'mender'::text]))),
    CONSTRAINT software_package_image_bytes_check CHECK ((0 < image_bytes)),
    CONSTRAINT software_package_release_counter_check CHECK ((0 <= release_counter))
);
CREATE TABLE public.station_pass (
    programme_id text NOT NULL,
    station text NOT NULL,
    vehicle text NOT NULL,
    plant_id text NOT NULL,
    variant text NOT NULL,
    software text NOT NULL,
    lots jsonb NOT NULL,
    at_once boolean NOT NULL,
    number bigint NOT NULL,
    period integer NOT NULL,
    at timestamp with time zone NOT NULL
);
CREATE TABLE public.station_result (
    programme_id text NOT NULL,
    event_id text NOT NULL,
    plant_id text NOT NULL,
    station text NOT NULL,
    gate text NOT NULL,
    check_name text NOT NULL,
    vehicle text NOT NULL,
    order_id text,
    variant text NOT NULL,
    software text NOT NULL,
    lots jsonb NOT NULL,
    passed boolean NOT NULL,
    attempt integer NOT NULL,
    at timestamp with time zone NOT NULL,
    told_at timestamp with time zone NOT NULL,
    told_by text NOT NULL,
    CONSTRAINT station_result_attempt_check CHECK ((attempt > 0))
);
CREATE TABLE public.station_time (
    programme_id text NOT NULL,
    event_id text NOT NULL,
    order_id text NOT NULL,
    station text NOT NULL,
    worked_ms integer NOT NULL,
    finished_at timestamp with time zone NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    CONSTRAINT station_time_worked_ms_check CHECK ((worked_ms > 0))
);
CREATE TABLE public.stock_part (
    programme_id text NOT NULL,
    part text NOT NULL,
    places integer NOT NULL,
    picks_day double precision,
    zone text NOT NULL,
    told_at timestamp with time zone NOT NULL,
    told_by text NOT NULL,
    CONSTRAINT stock_part_places_check CHECK ((places > 0))
);
CREATE TABLE public.telemetry_heard (
    only_row boolean DEFAULT true NOT NULL,
    heard_at timestamp with time zone NOT NULL,
    CONSTRAINT telemetry_heard_only_row_check CHECK (only_row)
);
CREATE TABLE public.vehicle_contact (
    vin text NOT NULL,
    heard_at timestamp with time zone NOT NULL
);
CREATE TABLE public.vehicle_list (
    name text NOT NULL,
    generation integer DEFAULT 1 NOT NULL,
    changed_by text NOT NULL,
    changed_at timestamp with time zone NOT NULL
);
ALTER TABLE public.vehicle_manifest ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.vehicle_manifest_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.webhook (
    id text NOT NULL,
    url text NOT NULL,
    types text[] DEFAULT '{}'::text[] NOT NULL,
    state text NOT NULL,
    state_reason text DEFAULT ''::text NOT NULL,
    salt bytea NOT NULL,
    key_id text NOT NULL,
    old_salt bytea,
    old_until timestamp with time zone,
    generation integer DEFAULT 1 NOT NULL,
    cursor_seq bigint NOT NULL,
    failures integer DEFAULT 0 NOT NULL,
    failing_since timestamp with time zone,
    next_attempt_at timestamp with time zone,
    delivered_at timestamp with time zone,
    created_by text NOT NULL,
    created_at timestamp with time zone NOT NULL,
    CONSTRAINT webhook_state_check CHECK ((state = ANY (ARRAY['active'::text, 'paused'::text, 'disabled'::text])))
);
CREATE TABLE public.webhook_delivery (
    id bigint NOT NULL,
    webhook_id text NOT NULL,
    seq bigint NOT NULL,
    fact_id text NOT NULL,
    kind text NOT NULL,
    attempt integer NOT NULL,
    replayed boolean NOT NULL,
    outcome text NOT NULL,
    status integer,
    sent_at timestamp with time zone NOT NULL,
    took_ms integer NOT NULL
);
ALTER TABLE public.webhook_delivery ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.webhook_delivery_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.webhook_replay (
    webhook_id text NOT NULL,
    seq bigint NOT NULL,
    asked_at timestamp with time zone NOT NULL
);
ALTER TABLE ONLY public.access_token
    ADD CONSTRAINT access_token_pkey PRIMARY KEY (token_sha256);
ALTER TABLE ONLY public.account_fleet
    ADD CONSTRAINT account_fleet_pkey PRIMARY KEY (account_name, kind, name);
ALTER TABLE ONLY public.account
    ADD CONSTRAINT account_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.artifact_key
    ADD CONSTRAINT artifact_key_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.assignment
    ADD CONSTRAINT assignment_once UNIQUE (campaign_id, vin, kind, step);
ALTER TABLE ONLY public.assignment
    ADD CONSTRAINT assignment_pkey PRIMARY KEY (action_id);
ALTER TABLE ONLY public.birth_record
    ADD CONSTRAINT birth_record_pkey PRIMARY KEY (vin);
ALTER TABLE ONLY public.birth_trait
    ADD CONSTRAINT birth_trait_pkey PRIMARY KEY (programme_id, kind, thing, value, vin);
ALTER TABLE ONLY public.blocked_option
    ADD CONSTRAINT blocked_option_pkey PRIMARY KEY (programme_id, option);
ALTER TABLE ONLY public.built_part
    ADD CONSTRAINT built_part_pkey PRIMARY KEY (programme_id, event_id);
ALTER TABLE ONLY public.campaign
    ADD CONSTRAINT campaign_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.campaign_plan
    ADD CONSTRAINT campaign_plan_campaign_id_generation_key UNIQUE (campaign_id, generation);
ALTER TABLE ONLY public.campaign_plan
    ADD CONSTRAINT campaign_plan_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.campaign_resolution
    ADD CONSTRAINT campaign_resolution_pkey PRIMARY KEY (plan_id, number);
ALTER TABLE ONLY public.campaign_tally
    ADD CONSTRAINT campaign_tally_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.campaign_target
    ADD CONSTRAINT campaign_target_pkey PRIMARY KEY (plan_id, vin);
ALTER TABLE ONLY public.change
    ADD CONSTRAINT change_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.claim
    ADD CONSTRAINT claim_pkey PRIMARY KEY (programme_id, id);
ALTER TABLE ONLY public.complaint
    ADD CONSTRAINT complaint_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.contained_lot
    ADD CONSTRAINT contained_lot_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.demand_book
    ADD CONSTRAINT demand_book_pkey PRIMARY KEY (programme_id);
ALTER TABLE ONLY public.demand_forecast
    ADD CONSTRAINT demand_forecast_pkey PRIMARY KEY (run_id, option, plant, region, model);
ALTER TABLE ONLY public.demand_month
    ADD CONSTRAINT demand_month_pkey PRIMARY KEY (programme_id, option, plant, region, model, month);
ALTER TABLE ONLY public.demand_run
    ADD CONSTRAINT demand_run_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.demand_signal
    ADD CONSTRAINT demand_signal_pkey PRIMARY KEY (programme_id, id);
ALTER TABLE ONLY public.device_report
    ADD CONSTRAINT device_report_once UNIQUE (vin, dedupe_key);
ALTER TABLE ONLY public.device_report
    ADD CONSTRAINT device_report_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.diagnostic_job
    ADD CONSTRAINT diagnostic_job_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.diagnostic_sample
    ADD CONSTRAINT diagnostic_sample_pkey PRIMARY KEY (job_id, number);
ALTER TABLE ONLY public.diagnostic_session
    ADD CONSTRAINT diagnostic_session_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.ecu_installed
    ADD CONSTRAINT ecu_installed_pkey PRIMARY KEY (vin, serial);
ALTER TABLE ONLY public.ecu_names
    ADD CONSTRAINT ecu_names_pkey PRIMARY KEY (programme_id, ecu);
ALTER TABLE ONLY public.ecu
    ADD CONSTRAINT ecu_pkey PRIMARY KEY (vin, serial);
ALTER TABLE ONLY public.ecu_replaced
    ADD CONSTRAINT ecu_replaced_pkey PRIMARY KEY (vin, serial, replaced_at, by_sha256);
ALTER TABLE ONLY public.fact
    ADD CONSTRAINT fact_id_key UNIQUE (id);
ALTER TABLE ONLY public.fact
    ADD CONSTRAINT fact_pkey PRIMARY KEY (seq);
ALTER TABLE ONLY public.field_trace
    ADD CONSTRAINT field_trace_pkey PRIMARY KEY (source, source_id, vin);
ALTER TABLE ONLY public.finding
    ADD CONSTRAINT finding_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.fleet_tally
    ADD CONSTRAINT fleet_tally_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.gate_decision
    ADD CONSTRAINT gate_decision_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.gate_draw
    ADD CONSTRAINT gate_draw_pkey PRIMARY KEY (programme_id, order_id, station, gate);
ALTER TABLE ONLY public.gate_reading
    ADD CONSTRAINT gate_reading_campaign_id_through_us_key UNIQUE (campaign_id, through_us);
ALTER TABLE ONLY public.gate_reading
    ADD CONSTRAINT gate_reading_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.gate_seed
    ADD CONSTRAINT gate_seed_pkey PRIMARY KEY (programme_id);
ALTER TABLE ONLY public.gate_tick
    ADD CONSTRAINT gate_tick_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.gateway_token
    ADD CONSTRAINT gateway_token_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.gateway_token
    ADD CONSTRAINT gateway_token_token_sha256_key UNIQUE (token_sha256);
ALTER TABLE ONLY public.image_delta
    ADD CONSTRAINT image_delta_pkey PRIMARY KEY (to_sha256, from_sha256, ecu_class);
ALTER TABLE ONLY public.lap
    ADD CONSTRAINT lap_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.leg_outlook
    ADD CONSTRAINT leg_outlook_pkey PRIMARY KEY (programme_id);
ALTER TABLE ONLY public.line_baseline
    ADD CONSTRAINT line_baseline_pkey PRIMARY KEY (programme_id);
ALTER TABLE ONLY public.line_check
    ADD CONSTRAINT line_check_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.line_schedule
    ADD CONSTRAINT line_schedule_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.line_schedule
    ADD CONSTRAINT line_schedule_programme_id_generation_key UNIQUE (programme_id, generation);
ALTER TABLE ONLY public.line_state
    ADD CONSTRAINT line_state_pkey PRIMARY KEY (programme_id, "position");
ALTER TABLE ONLY public.line_stop
    ADD CONSTRAINT line_stop_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.line_what_if
    ADD CONSTRAINT line_what_if_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.mes_event
    ADD CONSTRAINT mes_event_pkey PRIMARY KEY (programme_id, "position");
ALTER TABLE ONLY public.mes_event
    ADD CONSTRAINT mes_event_programme_id_event_id_key UNIQUE (programme_id, event_id);
ALTER TABLE ONLY public.mes_refused
    ADD CONSTRAINT mes_refused_pkey PRIMARY KEY (seq, received_at);
ALTER TABLE ONLY public.milestone_refused
    ADD CONSTRAINT milestone_refused_pkey PRIMARY KEY (programme_id, number);
ALTER TABLE ONLY public.outcome
    ADD CONSTRAINT outcome_campaign_id_finding_id_key UNIQUE (campaign_id, finding_id);
ALTER TABLE ONLY public.outcome
    ADD CONSTRAINT outcome_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.plant_order
    ADD CONSTRAINT plant_order_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.plant
    ADD CONSTRAINT plant_pkey PRIMARY KEY (id, generation);
ALTER TABLE ONLY public.plant_proposal
    ADD CONSTRAINT plant_proposal_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.programme
    ADD CONSTRAINT programme_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.quality_alarm
    ADD CONSTRAINT quality_alarm_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.quality_day_gate
    ADD CONSTRAINT quality_day_gate_pkey PRIMARY KEY (programme_id, day, station, gate);
ALTER TABLE ONLY public.quality_day
    ADD CONSTRAINT quality_day_pkey PRIMARY KEY (programme_id, day);
ALTER TABLE ONLY public.quality_late
    ADD CONSTRAINT quality_late_pkey PRIMARY KEY (programme_id, station, period);
ALTER TABLE ONLY public.quality_watch
    ADD CONSTRAINT quality_watch_number UNIQUE (programme_id, number);
ALTER TABLE ONLY public.quality_watch
    ADD CONSTRAINT quality_watch_pkey PRIMARY KEY (programme_id, station, kind, value, period);
ALTER TABLE ONLY public.quarantine
    ADD CONSTRAINT quarantine_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.quarantine
    ADD CONSTRAINT quarantine_source_locator_key UNIQUE (source, locator);
ALTER TABLE ONLY public.release
    ADD CONSTRAINT release_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.release
    ADD CONSTRAINT release_programme_id_version_key UNIQUE (programme_id, version);
ALTER TABLE ONLY public.repository_metadata
    ADD CONSTRAINT repository_metadata_pkey PRIMARY KEY (repository, vin, role, version);
ALTER TABLE ONLY public.schema_migration
    ADD CONSTRAINT schema_migration_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.shipment_milestone
    ADD CONSTRAINT shipment_milestone_pkey PRIMARY KEY (programme_id, event_id);
ALTER TABLE ONLY public.shipment
    ADD CONSTRAINT shipment_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.shipment
    ADD CONSTRAINT shipment_programme_id_name_key UNIQUE (programme_id, name);
ALTER TABLE ONLY public.shop_plan
    ADD CONSTRAINT shop_plan_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.shop_plan
    ADD CONSTRAINT shop_plan_plant_id_shop_generation_key UNIQUE (plant_id, shop, generation);
ALTER TABLE ONLY public.shop_stop
    ADD CONSTRAINT shop_stop_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.shop_work
    ADD CONSTRAINT shop_work_pkey PRIMARY KEY (plant_id, shop);
ALTER TABLE ONLY public.site_aside
    ADD CONSTRAINT site_aside_pkey PRIMARY KEY (site_id, sha256);
ALTER TABLE ONLY public.site_birth
    ADD CONSTRAINT site_birth_pkey PRIMARY KEY (number);
ALTER TABLE ONLY public.site_birth_refused
    ADD CONSTRAINT site_birth_refused_pkey PRIMARY KEY (site_id, vin, sha256);
ALTER TABLE ONLY public.site_birth
    ADD CONSTRAINT site_birth_vin_key UNIQUE (vin);
ALTER TABLE ONLY public.site_conflict
    ADD CONSTRAINT site_conflict_pkey PRIMARY KEY (site_id, kind, subject);
ALTER TABLE ONLY public.site_key
    ADD CONSTRAINT site_key_pkey PRIMARY KEY (site_id, key_id);
ALTER TABLE ONLY public.site
    ADD CONSTRAINT site_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.site_place
    ADD CONSTRAINT site_place_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.site_trust
    ADD CONSTRAINT site_trust_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.site_vin
    ADD CONSTRAINT site_vin_pkey PRIMARY KEY (site_id);
ALTER TABLE ONLY public.site_vin
    ADD CONSTRAINT site_vin_plant_key UNIQUE (plant);
ALTER TABLE ONLY public.software_package
    ADD CONSTRAINT software_package_filename_key UNIQUE (filename);
ALTER TABLE ONLY public.software_package
    ADD CONSTRAINT software_package_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.software_package
    ADD CONSTRAINT software_package_programme_id_ecu_version_key UNIQUE (programme_id, ecu, version);
ALTER TABLE ONLY public.station_pass
    ADD CONSTRAINT station_pass_number UNIQUE (programme_id, station, variant, number);
ALTER TABLE ONLY public.station_pass
    ADD CONSTRAINT station_pass_pkey PRIMARY KEY (programme_id, station, vehicle);
ALTER TABLE ONLY public.station_result
    ADD CONSTRAINT station_result_attempt UNIQUE (programme_id, vehicle, station, check_name, attempt);
ALTER TABLE ONLY public.station_result
    ADD CONSTRAINT station_result_pkey PRIMARY KEY (programme_id, event_id);
ALTER TABLE ONLY public.station_time
    ADD CONSTRAINT station_time_pkey PRIMARY KEY (programme_id, event_id);
ALTER TABLE ONLY public.stock_part
    ADD CONSTRAINT stock_part_pkey PRIMARY KEY (programme_id, part);
ALTER TABLE ONLY public.telemetry_heard
    ADD CONSTRAINT telemetry_heard_pkey PRIMARY KEY (only_row);
ALTER TABLE ONLY public.vehicle_contact
    ADD CONSTRAINT vehicle_contact_pkey PRIMARY KEY (vin);
ALTER TABLE ONLY public.vehicle_list_member
    ADD CONSTRAINT vehicle_list_member_pkey PRIMARY KEY (list_name, vin);
ALTER TABLE ONLY public.vehicle_list
    ADD CONSTRAINT vehicle_list_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.vehicle_manifest
    ADD CONSTRAINT vehicle_manifest_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.vehicle_manifest
    ADD CONSTRAINT vehicle_manifest_vin_digest_key UNIQUE (vin, digest);
ALTER TABLE ONLY public.vehicle
    ADD CONSTRAINT vehicle_pkey PRIMARY KEY (vin);
ALTER TABLE ONLY public.webhook_delivery
    ADD CONSTRAINT webhook_delivery_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.webhook
    ADD CONSTRAINT webhook_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.webhook_replay
    ADD CONSTRAINT webhook_replay_pkey PRIMARY KEY (webhook_id, seq);
CREATE UNIQUE INDEX artifact_key_good ON public.artifact_key USING btree (programme_id, supplier, sha256) WHERE (revoked_at IS NULL);
CREATE INDEX assignment_changed_idx ON public.assignment USING btree (changed_seq);
CREATE INDEX assignment_deadline_idx ON public.assignment USING btree (deadline_at) WHERE (state = ANY (ARRAY['offered'::text, 'active'::text, 'cancelling'::text]));
CREATE INDEX assignment_ended_idx ON public.assignment USING btree (campaign_id, wave, finished_at) WHERE ((kind = 'update'::text) AND (finished_at IS NOT NULL));
CREATE INDEX assignment_failed_idx ON public.assignment USING btree (vin) WHERE (state = ANY (ARRAY['failed'::text, 'rolled_back'::text, 'expired'::text]));
CREATE INDEX assignment_listed_idx ON public.assignment USING btree (campaign_id, wave, state, ((claimed_at IS NOT NULL)), vin);
CREATE UNIQUE INDEX assignment_one_open ON public.assignment USING btree (vin) WHERE (state = ANY (ARRAY['offered'::text, 'active'::text, 'cancelling'::text]));
CREATE INDEX assignment_step_idx ON public.assignment USING btree (campaign_id, vin) WHERE (step > 0);
CREATE INDEX assignment_vin_idx ON public.assignment USING btree (vin, action_id DESC);
CREATE INDEX assignment_waiting_idx ON public.assignment USING btree (campaign_id, vin) WHERE ((state = 'pending'::text) AND (released_at IS NOT NULL));
CREATE INDEX assignment_withdrawal_idx ON public.assignment USING btree (vin) WHERE ((bundle = 'issued'::text) AND (state = ANY (ARRAY['pending'::text, 'downloaded'::text, 'failed'::text, 'rolled_back'::text, 'cancelled'::text, 'expired'::text])));
CREATE INDEX birth_trait_vin_idx ON public.birth_trait USING btree (vin);
CREATE INDEX built_part_lot_idx ON public.built_part USING btree (programme_id, lot);
CREATE INDEX built_part_order_idx ON public.built_part USING btree (order_id);
CREATE UNIQUE INDEX built_part_serial_idx ON public.built_part USING btree (programme_id, part, serial) WHERE (serial <> ''::text);
CREATE INDEX campaign_tally_campaign_idx ON public.campaign_tally USING btree (campaign_id, minute);
CREATE UNIQUE INDEX campaign_tally_folded_idx ON public.campaign_tally USING btree (campaign_id, kind, wave, state, claimed, minute) WHERE folded;
CREATE INDEX campaign_tally_new_idx ON public.campaign_tally USING btree (id) WHERE (NOT folded);
CREATE INDEX campaign_tally_now_idx ON public.campaign_tally USING btree (state) WHERE (minute = '-infinity'::timestamp with time zone);
CREATE INDEX campaign_target_gone_idx ON public.campaign_target USING btree (plan_id) WHERE (let_go_at IS NOT NULL);
CREATE INDEX campaign_target_held_idx ON public.campaign_target USING btree (plan_id, resolution) WHERE ((verdict = 'control'::text) OR (reason = 'joined'::text));
CREATE INDEX claim_programme_idx ON public.claim USING btree (programme_id, told_at DESC, id DESC);
CREATE INDEX claim_vin_idx ON public.claim USING btree (vin);
CREATE INDEX contained_lot_newest_idx ON public.contained_lot USING btree (programme_id, contained_at DESC, id DESC);
CREATE UNIQUE INDEX contained_lot_open_idx ON public.contained_lot USING btree (programme_id, part, lot) WHERE (released_at IS NULL);
CREATE UNIQUE INDEX demand_run_open_idx ON public.demand_run USING btree (programme_id) WHERE (state = ANY (ARRAY['asked'::text, 'running'::text]));
CREATE INDEX demand_run_programme_idx ON public.demand_run USING btree (programme_id, asked_at DESC, id DESC);
CREATE INDEX device_report_unapplied_idx ON public.device_report USING btree (id) WHERE (applied_at IS NULL);
CREATE INDEX diagnostic_job_answer_idx ON public.diagnostic_job USING btree (answered_at) WHERE (answer IS NOT NULL);
CREATE INDEX diagnostic_job_bulk_idx ON public.diagnostic_job USING btree (answered_at) WHERE ((answer IS NOT NULL) AND starts_with(path, '/bulk-data/'::text) AND (split_part(path, '/'::text, 4) <> ''::text));
CREATE INDEX diagnostic_job_due_idx ON public.diagnostic_job USING btree (next_at) WHERE (state = 'queued'::text);
CREATE INDEX diagnostic_job_made_idx ON public.diagnostic_job USING btree (made_at) WHERE (state <> 'queued'::text);
CREATE INDEX diagnostic_job_session_idx ON public.diagnostic_job USING btree (session_id);
CREATE INDEX diagnostic_job_vin_idx ON public.diagnostic_job USING btree (vin, made_at DESC, id DESC);
CREATE INDEX diagnostic_session_end_idx ON public.diagnostic_session USING btree (expires_at) WHERE (state = ANY (ARRAY['asked'::text, 'open'::text]));
CREATE UNIQUE INDEX diagnostic_session_one_idx ON public.diagnostic_session USING btree (vin, account) WHERE (state = ANY (ARRAY['asked'::text, 'open'::text]));
CREATE INDEX diagnostic_session_vin_idx ON public.diagnostic_session USING btree (vin, asked_at DESC, id DESC);
CREATE INDEX fact_kind_idx ON public.fact USING btree (kind, seq);
CREATE INDEX fact_lap_idx ON public.fact USING btree (lap_id, seq);
CREATE INDEX fact_subject_idx ON public.fact USING btree (subject, seq);
CREATE INDEX field_trace_gate_idx ON public.field_trace USING btree (programme_id, gate_station, gate, traced_at DESC);
CREATE UNIQUE INDEX finding_live_key ON public.finding USING btree (programme_id, ecu, software_version, fault_code) WHERE (state = ANY (ARRAY['open'::text, 'accepted'::text]));
CREATE UNIQUE INDEX fleet_tally_folded_idx ON public.fleet_tally USING btree (programme_id, variant, release_id, blocked) WHERE folded;
CREATE INDEX fleet_tally_new_idx ON public.fleet_tally USING btree (id) WHERE (NOT folded);
CREATE INDEX gate_decision_campaign_idx ON public.gate_decision USING btree (campaign_id, id);
CREATE INDEX gate_draw_newest_idx ON public.gate_draw USING btree (programme_id, drawn_at DESC, order_id DESC);
CREATE INDEX gate_draw_untold_idx ON public.gate_draw USING btree (drawn_at) WHERE (told_at IS NULL);
CREATE INDEX gate_tick_campaign_idx ON public.gate_tick USING btree (campaign_id, metric, tick);
CREATE INDEX image_delta_sha256_idx ON public.image_delta USING btree (sha256) WHERE (sha256 IS NOT NULL);
CREATE INDEX line_check_programme_idx ON public.line_check USING btree (programme_id, checked_at DESC, id DESC);
CREATE UNIQUE INDEX line_stop_event_idx ON public.line_stop USING btree (programme_id, event_id) WHERE (event_id <> ''::text);
CREATE INDEX line_stop_open_idx ON public.line_stop USING btree (programme_id) WHERE (ended_at IS NULL);
CREATE INDEX line_stop_programme_idx ON public.line_stop USING btree (programme_id, began_at DESC, id DESC);
CREATE INDEX line_what_if_open_idx ON public.line_what_if USING btree (asked_at) WHERE (answered_at IS NULL);
CREATE INDEX line_what_if_programme_idx ON public.line_what_if USING btree (programme_id, asked_at DESC, id DESC);
CREATE INDEX mes_event_order_idx ON public.mes_event USING btree (order_id, "position") WHERE (order_id <> ''::text);
CREATE INDEX mes_event_received_idx ON public.mes_event USING btree (programme_id, received_at);
CREATE INDEX mes_refused_programme_idx ON public.mes_refused USING btree (programme_id, received_at DESC);
CREATE INDEX plant_order_vin_idx ON public.plant_order USING btree (vin) WHERE (vin IS NOT NULL);
CREATE UNIQUE INDEX plant_proposal_going_idx ON public.plant_proposal USING btree (parent_id, clone_id, sha256) WHERE (state = ANY (ARRAY['open'::text, 'proved'::text, 'trial'::text]));
CREATE INDEX plant_proposal_plant_idx ON public.plant_proposal USING btree (proposed_at DESC, id DESC);
CREATE INDEX quality_alarm_newest_idx ON public.quality_alarm USING btree (programme_id, opened_at DESC, id DESC);
CREATE UNIQUE INDEX quality_alarm_open_idx ON public.quality_alarm USING btree (programme_id, station, kind, value) WHERE (closed_at IS NULL);
CREATE INDEX quality_day_pass_idx ON public.quality_day_pass USING btree (programme_id, day);
CREATE INDEX repository_metadata_expiry_idx ON public.repository_metadata USING btree (expires_at) WHERE (role = 'timestamp'::text);
CREATE INDEX shipment_milestone_shipment_idx ON public.shipment_milestone USING btree (shipment_id, at);
CREATE INDEX shipment_newest_idx ON public.shipment USING btree (programme_id, announced_at DESC, id DESC);
CREATE UNIQUE INDEX shop_stop_open_idx ON public.shop_stop USING btree (plant_id, shop, resource) WHERE (ended_at IS NULL);
CREATE INDEX shop_stop_shop_idx ON public.shop_stop USING btree (plant_id, shop, began_at DESC);
CREATE INDEX shop_work_open_idx ON public.shop_work USING btree (asked_at) WHERE (stage = ANY (ARRAY['asked'::text, 'searching'::text, 'proving'::text]));
CREATE INDEX station_pass_at_idx ON public.station_pass USING btree (programme_id, at);
CREATE INDEX station_pass_place_idx ON public.station_pass USING btree (programme_id, station, number);
CREATE INDEX station_result_gate_idx ON public.station_result USING btree (programme_id, at) WHERE ((gate <> ''::text) AND (attempt = 1));
CREATE INDEX station_result_newest_idx ON public.station_result USING btree (programme_id, told_at DESC, event_id DESC);
CREATE INDEX station_time_order_idx ON public.station_time USING btree (order_id);
CREATE INDEX station_time_station_idx ON public.station_time USING btree (programme_id, station, finished_at DESC);
CREATE INDEX vehicle_blocked_idx ON public.vehicle USING btree (vin) WHERE (blocked_reason IS NOT NULL);
CREATE INDEX vehicle_certificate_idx ON public.vehicle USING btree (certificate_until) WHERE (certificate_until IS NOT NULL);
CREATE INDEX vehicle_changed_idx ON public.vehicle USING btree (changed_seq);
CREATE INDEX vehicle_list_member_vin_idx ON public.vehicle_list_member USING btree (vin);
CREATE INDEX vehicle_release_idx ON public.vehicle USING btree (release_id, vin);
CREATE INDEX vehicle_tags_idx ON public.vehicle USING gin (tags);
CREATE INDEX vehicle_variant_idx ON public.vehicle USING btree (variant, vin);
CREATE INDEX webhook_delivery_idx ON public.webhook_delivery USING btree (webhook_id, id);
CREATE TRIGGER assignment_added AFTER INSERT ON public.assignment REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.tally_assignments();
CREATE TRIGGER assignment_changed BEFORE UPDATE ON public.assignment FOR EACH ROW EXECUTE FUNCTION public.draw_gateway_change();
CREATE TRIGGER assignment_gone AFTER DELETE ON public.assignment REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION public.tally_assignments();
CREATE TRIGGER assignment_moved AFTER UPDATE ON public.assignment REFERENCING OLD TABLE AS gone NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.tally_assignments();
CREATE TRIGGER assignment_notes BEFORE INSERT OR UPDATE ON public.assignment FOR EACH STATEMENT EXECUTE FUNCTION public.note_gateway_change();
CREATE TRIGGER assignment_of_campaign AFTER INSERT ON public.assignment REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.know_campaigns();
CREATE TRIGGER assignment_return_gone AFTER DELETE ON public.assignment REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION public.tally_returns();
CREATE TRIGGER assignment_returned AFTER UPDATE ON public.assignment REFERENCING OLD TABLE AS gone NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.tally_returns();
CREATE TRIGGER assignment_wakes AFTER INSERT OR UPDATE ON public.assignment FOR EACH STATEMENT EXECUTE FUNCTION public.wake_gateways();
CREATE TRIGGER ecu_installed_replaced AFTER UPDATE ON public.ecu_installed FOR EACH ROW WHEN ((old.image_sha256 IS DISTINCT FROM new.image_sha256)) EXECUTE FUNCTION public.keep_replaced();
CREATE TRIGGER fact_append_only BEFORE DELETE OR UPDATE ON public.fact FOR EACH ROW EXECUTE FUNCTION public.fact_is_append_only();
CREATE TRIGGER fact_no_truncate BEFORE TRUNCATE ON public.fact FOR EACH STATEMENT EXECUTE FUNCTION public.fact_is_append_only();
CREATE TRIGGER gate_decision_append_only BEFORE DELETE OR UPDATE ON public.gate_decision FOR EACH ROW EXECUTE FUNCTION public.gate_is_append_only();
CREATE TRIGGER gate_decision_no_truncate BEFORE TRUNCATE ON public.gate_decision FOR EACH STATEMENT EXECUTE FUNCTION public.gate_is_append_only();
CREATE TRIGGER gate_reading_append_only BEFORE DELETE OR UPDATE ON public.gate_reading FOR EACH ROW EXECUTE FUNCTION public.gate_is_append_only();
CREATE TRIGGER gate_reading_no_truncate BEFORE TRUNCATE ON public.gate_reading FOR EACH STATEMENT EXECUTE FUNCTION public.gate_is_append_only();
CREATE TRIGGER gate_tick_append_only BEFORE DELETE OR UPDATE ON public.gate_tick FOR EACH ROW EXECUTE FUNCTION public.gate_is_append_only();
CREATE TRIGGER gate_tick_no_truncate BEFORE TRUNCATE ON public.gate_tick FOR EACH STATEMENT EXECUTE FUNCTION public.gate_is_append_only();
CREATE TRIGGER gateway_token_notes BEFORE INSERT OR UPDATE ON public.gateway_token FOR EACH STATEMENT EXECUTE FUNCTION public.note_gateway_change();
CREATE TRIGGER gateway_token_wakes AFTER INSERT OR UPDATE ON public.gateway_token FOR EACH STATEMENT EXECUTE FUNCTION public.wake_gateways();
CREATE TRIGGER vehicle_added AFTER INSERT ON public.vehicle REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.tally_vehicles();
CREATE TRIGGER vehicle_changed BEFORE UPDATE ON public.vehicle FOR EACH ROW EXECUTE FUNCTION public.draw_gateway_change();
CREATE TRIGGER vehicle_configured BEFORE UPDATE ON public.vehicle FOR EACH ROW WHEN ((((((old.release_id IS DISTINCT FROM new.release_id) OR (old.blocked_reason IS DISTINCT FROM new.blocked_reason)) OR (old.programme_id IS DISTINCT FROM new.programme_id)) OR (old.variant IS DISTINCT FROM new.variant)) OR (old.gateway IS DISTINCT FROM new.gateway))) EXECUTE FUNCTION public.count_configuration();
CREATE TRIGGER vehicle_gone AFTER DELETE ON public.vehicle REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION public.tally_vehicles();
CREATE TRIGGER vehicle_moved AFTER UPDATE ON public.vehicle REFERENCING OLD TABLE AS gone NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION public.tally_vehicles();
CREATE TRIGGER vehicle_notes BEFORE INSERT OR UPDATE ON public.vehicle FOR EACH STATEMENT EXECUTE FUNCTION public.note_gateway_change();
CREATE TRIGGER vehicle_wakes AFTER INSERT OR UPDATE ON public.vehicle FOR EACH STATEMENT EXECUTE FUNCTION public.wake_gateways();
ALTER TABLE ONLY public.access_token
    ADD CONSTRAINT access_token_account_name_fkey FOREIGN KEY (account_name) REFERENCES public.account(name);
ALTER TABLE ONLY public.account_fleet
    ADD CONSTRAINT account_fleet_account_name_fkey FOREIGN KEY (account_name) REFERENCES public.account(name);
ALTER TABLE ONLY public.artifact_key
    ADD CONSTRAINT artifact_key_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.assignment
    ADD CONSTRAINT assignment_release_id_fkey FOREIGN KEY (release_id) REFERENCES public.release(id);
ALTER TABLE ONLY public.birth_record
    ADD CONSTRAINT birth_record_vin_fkey FOREIGN KEY (vin) REFERENCES public.vehicle(vin);
ALTER TABLE ONLY public.birth_trait
    ADD CONSTRAINT birth_trait_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.birth_trait
    ADD CONSTRAINT birth_trait_vin_fkey FOREIGN KEY (vin) REFERENCES public.vehicle(vin);
ALTER TABLE ONLY public.blocked_option
    ADD CONSTRAINT blocked_option_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.built_part
    ADD CONSTRAINT built_part_order_id_fkey FOREIGN KEY (order_id) REFERENCES public.plant_order(id);
ALTER TABLE ONLY public.built_part
    ADD CONSTRAINT built_part_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.campaign
    ADD CONSTRAINT campaign_lap_id_fkey FOREIGN KEY (lap_id) REFERENCES public.lap(id);
ALTER TABLE ONLY public.campaign_plan
    ADD CONSTRAINT campaign_plan_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES public.campaign(id);
ALTER TABLE ONLY public.campaign_plan
    ADD CONSTRAINT campaign_plan_parent_id_fkey FOREIGN KEY (parent_id) REFERENCES public.campaign_plan(id);
ALTER TABLE ONLY public.campaign
    ADD CONSTRAINT campaign_release_id_fkey FOREIGN KEY (release_id) REFERENCES public.release(id);
ALTER TABLE ONLY public.change
    ADD CONSTRAINT change_finding_id_fkey FOREIGN KEY (finding_id) REFERENCES public.finding(id);
ALTER TABLE ONLY public.change
    ADD CONSTRAINT change_lap_id_fkey FOREIGN KEY (lap_id) REFERENCES public.lap(id);
ALTER TABLE ONLY public.claim
    ADD CONSTRAINT claim_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.claim
    ADD CONSTRAINT claim_vin_fkey FOREIGN KEY (vin) REFERENCES public.vehicle(vin);
ALTER TABLE ONLY public.contained_lot
    ADD CONSTRAINT contained_lot_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.demand_book
    ADD CONSTRAINT demand_book_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.demand_forecast
    ADD CONSTRAINT demand_forecast_run_id_fkey FOREIGN KEY (run_id) REFERENCES public.demand_run(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.demand_month
    ADD CONSTRAINT demand_month_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.demand_run
    ADD CONSTRAINT demand_run_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.demand_signal
    ADD CONSTRAINT demand_signal_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.diagnostic_job
    ADD CONSTRAINT diagnostic_job_session_id_fkey FOREIGN KEY (session_id) REFERENCES public.diagnostic_session(id);
ALTER TABLE ONLY public.diagnostic_sample
    ADD CONSTRAINT diagnostic_sample_job_id_fkey FOREIGN KEY (job_id) REFERENCES public.diagnostic_job(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.diagnostic_session
    ADD CONSTRAINT diagnostic_session_vin_fkey FOREIGN KEY (vin) REFERENCES public.vehicle(vin);
ALTER TABLE ONLY public.ecu_installed
    ADD CONSTRAINT ecu_installed_vin_serial_fkey FOREIGN KEY (vin, serial) REFERENCES public.ecu(vin, serial);
ALTER TABLE ONLY public.ecu_names
    ADD CONSTRAINT ecu_names_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.ecu_replaced
    ADD CONSTRAINT ecu_replaced_vin_serial_fkey FOREIGN KEY (vin, serial) REFERENCES public.ecu_installed(vin, serial) ON DELETE CASCADE;
ALTER TABLE ONLY public.ecu
    ADD CONSTRAINT ecu_vin_fkey FOREIGN KEY (vin) REFERENCES public.vehicle(vin);
ALTER TABLE ONLY public.fact
    ADD CONSTRAINT fact_lap_id_fkey FOREIGN KEY (lap_id) REFERENCES public.lap(id);
ALTER TABLE ONLY public.field_trace
    ADD CONSTRAINT field_trace_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.field_trace
    ADD CONSTRAINT field_trace_vin_fkey FOREIGN KEY (vin) REFERENCES public.vehicle(vin);
ALTER TABLE ONLY public.finding
    ADD CONSTRAINT finding_lap_id_fkey FOREIGN KEY (lap_id) REFERENCES public.lap(id);
ALTER TABLE ONLY public.finding
    ADD CONSTRAINT finding_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.gate_decision
    ADD CONSTRAINT gate_decision_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES public.campaign(id);
ALTER TABLE ONLY public.gate_draw
    ADD CONSTRAINT gate_draw_order_id_fkey FOREIGN KEY (order_id) REFERENCES public.plant_order(id);
ALTER TABLE ONLY public.gate_draw
    ADD CONSTRAINT gate_draw_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.gate_reading
    ADD CONSTRAINT gate_reading_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES public.campaign(id);
ALTER TABLE ONLY public.gate_seed
    ADD CONSTRAINT gate_seed_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.gate_tick
    ADD CONSTRAINT gate_tick_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES public.campaign(id);
ALTER TABLE ONLY public.image_delta
    ADD CONSTRAINT image_delta_release_id_fkey FOREIGN KEY (release_id) REFERENCES public.release(id);
ALTER TABLE ONLY public.leg_outlook
    ADD CONSTRAINT leg_outlook_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.line_baseline
    ADD CONSTRAINT line_baseline_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.line_baseline
    ADD CONSTRAINT line_baseline_release_id_fkey FOREIGN KEY (release_id) REFERENCES public.release(id);
ALTER TABLE ONLY public.line_check
    ADD CONSTRAINT line_check_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.line_check
    ADD CONSTRAINT line_check_schedule_id_fkey FOREIGN KEY (schedule_id) REFERENCES public.line_schedule(id);
ALTER TABLE ONLY public.line_schedule
    ADD CONSTRAINT line_schedule_parent_id_fkey FOREIGN KEY (parent_id) REFERENCES public.line_schedule(id);
ALTER TABLE ONLY public.line_schedule
    ADD CONSTRAINT line_schedule_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.line_state
    ADD CONSTRAINT line_state_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.line_stop
    ADD CONSTRAINT line_stop_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.line_what_if
    ADD CONSTRAINT line_what_if_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.mes_event
    ADD CONSTRAINT mes_event_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.milestone_refused
    ADD CONSTRAINT milestone_refused_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.outcome
    ADD CONSTRAINT outcome_campaign_id_fkey FOREIGN KEY (campaign_id) REFERENCES public.campaign(id);
ALTER TABLE ONLY public.outcome
    ADD CONSTRAINT outcome_finding_id_fkey FOREIGN KEY (finding_id) REFERENCES public.finding(id);
ALTER TABLE ONLY public.outcome
    ADD CONSTRAINT outcome_lap_id_fkey FOREIGN KEY (lap_id) REFERENCES public.lap(id);
ALTER TABLE ONLY public.plant_order
    ADD CONSTRAINT plant_order_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.quality_alarm
    ADD CONSTRAINT quality_alarm_finding_id_fkey FOREIGN KEY (finding_id) REFERENCES public.finding(id);
ALTER TABLE ONLY public.quality_alarm
    ADD CONSTRAINT quality_alarm_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.quality_day_gate
    ADD CONSTRAINT quality_day_gate_programme_id_day_fkey FOREIGN KEY (programme_id, day) REFERENCES public.quality_day(programme_id, day) ON DELETE CASCADE;
ALTER TABLE ONLY public.quality_day_pass
    ADD CONSTRAINT quality_day_pass_programme_id_day_fkey FOREIGN KEY (programme_id, day) REFERENCES public.quality_day(programme_id, day) ON DELETE CASCADE;
ALTER TABLE ONLY public.quality_day
    ADD CONSTRAINT quality_day_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.quality_late
    ADD CONSTRAINT quality_late_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.quality_watch
    ADD CONSTRAINT quality_watch_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.release
    ADD CONSTRAINT release_lap_id_fkey FOREIGN KEY (lap_id) REFERENCES public.lap(id);
ALTER TABLE ONLY public.release
    ADD CONSTRAINT release_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.shipment_milestone
    ADD CONSTRAINT shipment_milestone_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.shipment_milestone
    ADD CONSTRAINT shipment_milestone_shipment_id_fkey FOREIGN KEY (shipment_id) REFERENCES public.shipment(id);
ALTER TABLE ONLY public.shipment
    ADD CONSTRAINT shipment_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.shop_plan
    ADD CONSTRAINT shop_plan_parent_id_fkey FOREIGN KEY (parent_id) REFERENCES public.shop_plan(id) ON DELETE SET NULL;
ALTER TABLE ONLY public.site_aside
    ADD CONSTRAINT site_aside_site_id_fkey FOREIGN KEY (site_id) REFERENCES public.site(id);
ALTER TABLE ONLY public.site_birth_refused
    ADD CONSTRAINT site_birth_refused_site_id_fkey FOREIGN KEY (site_id) REFERENCES public.site(id);
ALTER TABLE ONLY public.site_birth
    ADD CONSTRAINT site_birth_vin_fkey FOREIGN KEY (vin) REFERENCES public.vehicle(vin);
ALTER TABLE ONLY public.site_conflict
    ADD CONSTRAINT site_conflict_site_id_fkey FOREIGN KEY (site_id) REFERENCES public.site(id);
ALTER TABLE ONLY public.site_key
    ADD CONSTRAINT site_key_site_id_fkey FOREIGN KEY (site_id) REFERENCES public.site(id);
ALTER TABLE ONLY public.site_vin
    ADD CONSTRAINT site_vin_site_id_fkey FOREIGN KEY (site_id) REFERENCES public.site(id);
ALTER TABLE ONLY public.software_package
    ADD CONSTRAINT software_package_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.station_pass
    ADD CONSTRAINT station_pass_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.station_result
    ADD CONSTRAINT station_result_order_id_fkey FOREIGN KEY (order_id) REFERENCES public.plant_order(id);
ALTER TABLE ONLY public.station_result
    ADD CONSTRAINT station_result_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.station_time
    ADD CONSTRAINT station_time_order_id_fkey FOREIGN KEY (order_id) REFERENCES public.plant_order(id);
ALTER TABLE ONLY public.station_time
    ADD CONSTRAINT station_time_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.stock_part
    ADD CONSTRAINT stock_part_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.vehicle_list_member
    ADD CONSTRAINT vehicle_list_member_list_name_fkey FOREIGN KEY (list_name) REFERENCES public.vehicle_list(name) ON DELETE CASCADE;
ALTER TABLE ONLY public.vehicle_list_member
    ADD CONSTRAINT vehicle_list_member_vin_fkey FOREIGN KEY (vin) REFERENCES public.vehicle(vin);
ALTER TABLE ONLY public.vehicle_manifest
    ADD CONSTRAINT vehicle_manifest_vin_fkey FOREIGN KEY (vin) REFERENCES public.vehicle(vin);
ALTER TABLE ONLY public.vehicle
    ADD CONSTRAINT vehicle_programme_id_fkey FOREIGN KEY (programme_id) REFERENCES public.programme(id);
ALTER TABLE ONLY public.vehicle
    ADD CONSTRAINT vehicle_release_id_fkey FOREIGN KEY (release_id) REFERENCES public.release(id);
ALTER TABLE ONLY public.webhook_delivery
    ADD CONSTRAINT webhook_delivery_webhook_id_fkey FOREIGN KEY (webhook_id) REFERENCES public.webhook(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.webhook_replay
    ADD CONSTRAINT webhook_replay_seq_fkey FOREIGN KEY (seq) REFERENCES public.fact(seq);
ALTER TABLE ONLY public.webhook_replay
    ADD CONSTRAINT webhook_replay_webhook_id_fkey FOREIGN KEY (webhook_id) REFERENCES public.webhook(id) ON DELETE CASCADE;
