-- The road: every table of the first lap. Forward only; run before new code starts.

-- Ledger -----------------------------------------------------------------------------------------
CREATE TABLE lap (
    id text PRIMARY KEY,
    title text NOT NULL,
    opened_at timestamptz NOT NULL
);

CREATE TABLE fact (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL CONSTRAINT fact_id_key UNIQUE,
    kind text NOT NULL,
    stage text NOT NULL CHECK (stage IN ('signal', 'design', 'build', 'ship', 'adapt')),
    subject text NOT NULL,
    lap_id text REFERENCES lap (id),
    causes text[] NOT NULL DEFAULT '{}',
    actor text NOT NULL,
    work_started_at timestamptz NOT NULL,
    event_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    body jsonb NOT NULL DEFAULT '{}',
    CHECK (work_started_at <= event_at)
);
CREATE INDEX fact_lap_idx ON fact (lap_id, seq);
CREATE INDEX fact_subject_idx ON fact (subject, seq);
CREATE INDEX fact_kind_idx ON fact (kind, seq);

CREATE FUNCTION fact_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER fact_append_only BEFORE UPDATE OR DELETE ON fact
    FOR EACH ROW EXECUTE FUNCTION fact_is_append_only();
CREATE TRIGGER fact_no_truncate BEFORE TRUNCATE ON fact
    FOR EACH STATEMENT EXECUTE FUNCTION fact_is_append_only();

-- Accounts ---------------------------------------------------------------------------------------
CREATE TABLE account (
    name text PRIMARY KEY,
    role text NOT NULL CHECK (role IN ('viewer', 'operator', 'approver', 'admin')),
    password_hash text,
    created_at timestamptz NOT NULL,
    disabled_at timestamptz
);
CREATE TABLE access_token (
    token_sha256 bytea PRIMARY KEY,
    account_name text NOT NULL REFERENCES account (name),
    kind text NOT NULL CHECK (kind IN ('one_time', 'session', 'api')),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz
);

-- Build ------------------------------------------------------------------------------------------
CREATE TABLE programme (
    id text PRIMARY KEY,               -- the programme's own id from programme.toml
    digest text NOT NULL,              -- sha256 of `source`
    source text NOT NULL,              -- the file as it was imported
    document jsonb NOT NULL,           -- parsed: variants, ECUs, plant line
    generation integer NOT NULL DEFAULT 1,
    imported_at timestamptz NOT NULL
);
CREATE TABLE software_package (
    id text PRIMARY KEY,               -- pkg_...
    programme_id text NOT NULL REFERENCES programme (id),
    ecu text NOT NULL,                 -- ECU name in the programme
    name text NOT NULL,
    version text NOT NULL,
    filename text NOT NULL CONSTRAINT software_package_filename_key UNIQUE,  -- Uptane target name
    format text NOT NULL CHECK (format IN ('bin', 'ihex', 'srec', 'mcuboot', 'swu')),
    hardware_ids text[] NOT NULL,
    image_sha256 text NOT NULL,        -- hex; also the blob's name
    image_sha512 text NOT NULL,
    image_bytes bigint NOT NULL CHECK (0 < image_bytes),
    release_counter integer NOT NULL CHECK (0 <= release_counter),
    facts jsonb NOT NULL DEFAULT '{}', -- what was read from the image: version, load_address, ranges, ...
    requires jsonb NOT NULL DEFAULT '[]',  -- [{"ecu": ..., "range": ">=1.2"}]
    added_at timestamptz NOT NULL,
    UNIQUE (programme_id, ecu, version)
);
CREATE TABLE release (
    id text PRIMARY KEY,               -- release_...
    programme_id text NOT NULL REFERENCES programme (id),
    name text NOT NULL,
    version text NOT NULL,
    state text NOT NULL CHECK (state IN ('draft', 'checked', 'signed', 'withdrawn')),
    change_id text,
    lap_id text REFERENCES lap (id),
    document jsonb NOT NULL,           -- packages per variant, untouched ECUs, groups, order, notes
    findings jsonb NOT NULL DEFAULT '[]',  -- of the last check
    generation integer NOT NULL DEFAULT 1,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    signed_at timestamptz,
    UNIQUE (programme_id, version)
);
CREATE TABLE repository_metadata (     -- Image repository (vin = '') and Director repository (one per vin)
    repository text NOT NULL CHECK (repository IN ('image', 'director')),
    vin text NOT NULL DEFAULT '',
    role text NOT NULL,
    version integer NOT NULL CHECK (0 < version),
    bytes bytea NOT NULL,
    expires_at timestamptz NOT NULL,
    written_at timestamptz NOT NULL,
    PRIMARY KEY (repository, vin, role, version)
);
CREATE INDEX repository_metadata_expiry_idx ON repository_metadata (expires_at) WHERE role = 'timestamp';
CREATE TABLE line_baseline (           -- what vehicles at the end of the line are flashed with
    programme_id text PRIMARY KEY REFERENCES programme (id),
    release_id text NOT NULL REFERENCES release (id),
    packages jsonb NOT NULL DEFAULT '{}',  -- {variant: {ecu: package id}}, complete: this release over earlier baselines
    generation integer NOT NULL DEFAULT 1,
    set_at timestamptz NOT NULL
);
CREATE TABLE plant_order (
    id text PRIMARY KEY,               -- order_...
    programme_id text NOT NULL REFERENCES programme (id),
    variant text NOT NULL,
    options text[] NOT NULL DEFAULT '{}',
    region text NOT NULL DEFAULT '',
    rush boolean NOT NULL DEFAULT false,
    due_at timestamptz,
    state text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'building', 'born', 'cancelled')),
    vin text,
    received_at timestamptz NOT NULL
);
CREATE TABLE line_schedule (           -- immutable plans; the current one has the highest generation
    id text PRIMARY KEY,               -- schedule_...
    programme_id text NOT NULL REFERENCES programme (id),
    generation integer NOT NULL,
    parent_id text REFERENCES line_schedule (id),
    cause text NOT NULL,               -- new_release, blocked_part, rush_order, new_orders
    document jsonb NOT NULL,           -- sequence of order ids, violations, baseline release, blocked options
    replan_latency_us bigint NOT NULL, -- trigger seen to plan current
    made_at timestamptz NOT NULL,
    UNIQUE (programme_id, generation)
);
CREATE TABLE blocked_option (
    programme_id text NOT NULL REFERENCES programme (id),
    option text NOT NULL,
    reason text NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (programme_id, option)
);

-- Vehicles ---------------------------------------------------------------------------------------
CREATE TABLE vehicle (
    vin text PRIMARY KEY CHECK (length(vin) = 17),
    programme_id text NOT NULL REFERENCES programme (id),
    variant text NOT NULL,
    region text NOT NULL DEFAULT '',
    tags text[] NOT NULL DEFAULT '{}',
    gateway text NOT NULL CHECK (gateway IN ('native', 'ddi')),
    token_sha256 bytea NOT NULL,       -- of the device token
    primary_serial text NOT NULL,
    attributes jsonb NOT NULL DEFAULT '{}',   -- reported by the device (DDI configData, VSS attributes)
    release_id text REFERENCES release (id),  -- last confirmed release
    blocked_reason text,               -- ROLLBACK_FAILED and the like
    born_at timestamptz NOT NULL,
    generation integer NOT NULL DEFAULT 1
);
CREATE TABLE ecu (
    vin text NOT NULL REFERENCES vehicle (vin),
    serial text NOT NULL,
    name text NOT NULL,                -- ECU name in the programme
    hardware_id text NOT NULL,
    public_key jsonb NOT NULL,         -- TUF key dict
    key_id text NOT NULL,
    is_primary boolean NOT NULL,
    added_at timestamptz NOT NULL,
    removed_at timestamptz,
    PRIMARY KEY (vin, serial)
);
CREATE TABLE ecu_installed (           -- last known configuration
    vin text NOT NULL,
    serial text NOT NULL,
    filename text NOT NULL,
    version text NOT NULL,
    image_sha256 text NOT NULL,
    reported_at timestamptz NOT NULL,
    PRIMARY KEY (vin, serial),
    FOREIGN KEY (vin, serial) REFERENCES ecu (vin, serial)
);
CREATE TABLE vehicle_manifest (        -- append-only history of accepted version manifests
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vin text NOT NULL REFERENCES vehicle (vin),
    digest text NOT NULL,
    body bytea NOT NULL,
    received_at timestamptz NOT NULL,
    UNIQUE (vin, digest)
);

-- Ship -------------------------------------------------------------------------------------------
CREATE TABLE campaign (
    id text PRIMARY KEY,               -- campaign_...
    name text NOT NULL,
    release_id text NOT NULL REFERENCES release (id),
    lap_id text REFERENCES lap (id),
    state text NOT NULL CHECK (state IN
        ('draft', 'planned', 'approved', 'running', 'paused', 'halted', 'aborted', 'finished')),
    state_reason text NOT NULL DEFAULT '',
    state_at timestamptz,              -- since when; a pause does not use up deadlines
    wave integer NOT NULL DEFAULT 0,   -- current wave, 1-based; 0 before the first
    plan_id text,                      -- the current plan
    generation integer NOT NULL DEFAULT 1,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    finished_at timestamptz
);
CREATE TABLE campaign_plan (           -- immutable; edits make a child
    id text PRIMARY KEY,               -- plan_...
    campaign_id text NOT NULL REFERENCES campaign (id),
    generation integer NOT NULL,
    parent_id text REFERENCES campaign_plan (id),
    document jsonb NOT NULL,           -- request, waves, counts, reasons, digest of its campaign_target rows
    findings jsonb NOT NULL,           -- of the checker
    made_by text NOT NULL,
    made_at timestamptz NOT NULL,
    approved_by text,
    approved_at timestamptz,
    UNIQUE (campaign_id, generation)
);
CREATE TABLE campaign_target (         -- the vehicles of a plan, each with its verdict; never changed
    plan_id text NOT NULL REFERENCES campaign_plan (id),
    vin text NOT NULL,
    verdict text NOT NULL CHECK (verdict IN ('match', 'already_installed', 'mismatch', 'unknown')),
    reason text NOT NULL,
    wave integer NOT NULL,             -- 0: takes no part
    PRIMARY KEY (plan_id, vin)
);
CREATE TABLE assignment (              -- one vehicle in one campaign; action_id is what DDI calls action
    action_id integer GENERATED ALWAYS AS IDENTITY (MINVALUE 1 MAXVALUE 2147483647) PRIMARY KEY,
    campaign_id text NOT NULL REFERENCES campaign (id),
    vin text NOT NULL REFERENCES vehicle (vin),
    wave integer NOT NULL,
    kind text NOT NULL DEFAULT 'update' CHECK (kind IN ('update', 'rollback')),
    release_id text REFERENCES release (id),  -- what to install; NULL: the campaign's
    state text NOT NULL DEFAULT 'pending' CHECK (state IN
        ('pending', 'offered', 'active', 'cancelling',
         'installed', 'failed', 'rolled_back', 'cancelled', 'expired')),
    state_detail text NOT NULL DEFAULT '',
    previous_release_id text,
    released_at timestamptz,           -- its wave was released; offered once its Director bundle is signed
    bundle text NOT NULL DEFAULT '' CHECK (bundle IN ('', 'issued', 'withdrawn')),  -- native vehicles only
    offered_at timestamptz,
    deadline_at timestamptz,
    began_at timestamptz,              -- installation began; silence after that counts as harm
    last_report_at timestamptz,
    finished_at timestamptz,
    generation integer NOT NULL DEFAULT 1,
    UNIQUE (campaign_id, vin, kind)
);
CREATE UNIQUE INDEX assignment_one_open ON assignment (vin)
    WHERE state IN ('offered', 'active', 'cancelling');
CREATE INDEX assignment_deadline_idx ON assignment (deadline_at)
    WHERE state IN ('offered', 'active', 'cancelling');
CREATE INDEX assignment_waiting_idx ON assignment (campaign_id, vin)
    WHERE state = 'pending' AND released_at IS NOT NULL;
CREATE INDEX assignment_withdraw_idx ON assignment (vin)
    WHERE bundle = 'issued' AND state IN ('pending', 'failed', 'rolled_back', 'cancelled', 'expired');
CREATE INDEX assignment_campaign_idx ON assignment (campaign_id, wave, state);
CREATE TABLE device_report (           -- every acknowledged report, once
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    vin text NOT NULL,
    dedupe_key text NOT NULL,
    action_id integer,
    kind text NOT NULL,                -- progress, closed, cancel, config
    event_at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    body jsonb NOT NULL,
    applied_at timestamptz,            -- when the worker folded it into assignment
    outcome text NOT NULL DEFAULT '',  -- applied, or why not: closed, unknown_action, no_action
    CONSTRAINT device_report_once UNIQUE (vin, dedupe_key)
);
CREATE INDEX device_report_unapplied_idx ON device_report (id) WHERE applied_at IS NULL;
CREATE TABLE gate_decision (           -- append-only
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    campaign_id text NOT NULL REFERENCES campaign (id),
    wave integer NOT NULL,
    decision text NOT NULL,            -- advance, hold, halt, finish
    reason text NOT NULL,
    facts jsonb NOT NULL,              -- the inputs, so that it can be replayed
    policy jsonb NOT NULL,
    decided_at timestamptz NOT NULL
);

-- Signal and design ------------------------------------------------------------------------------
CREATE TABLE complaint (
    id text PRIMARY KEY,               -- source and its own number, e.g. nhtsa:958173:1
    source text NOT NULL,
    make text NOT NULL,
    model text NOT NULL,
    model_year integer,
    component text NOT NULL,
    vin_prefix text NOT NULL DEFAULT '',
    occurred_on date,
    received_on date,
    text text NOT NULL,
    row_sha256 text NOT NULL,
    imported_at timestamptz NOT NULL
);
CREATE TABLE quarantine (              -- what could not be read, and why
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    source text NOT NULL,              -- telemetry, nhtsa
    locator text NOT NULL,             -- file:line or stream:sequence
    reason text NOT NULL,
    raw bytea NOT NULL,
    received_at timestamptz NOT NULL,
    UNIQUE (source, locator)
);
CREATE TABLE finding (
    id text PRIMARY KEY,               -- finding_...
    lap_id text NOT NULL REFERENCES lap (id),
    title text NOT NULL,
    programme_id text NOT NULL REFERENCES programme (id),
    ecu text NOT NULL,
    software_version text NOT NULL,
    fault_code text NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'accepted', 'rejected', 'closed')),
    state_reason text NOT NULL DEFAULT '',
    evidence jsonb NOT NULL,           -- query, counts, population, confidence
    generation integer NOT NULL DEFAULT 1,
    opened_at timestamptz NOT NULL,
    closed_at timestamptz              -- rejected or closed; earlier evidence is spent
);
CREATE UNIQUE INDEX finding_live_key ON finding (programme_id, ecu, software_version, fault_code)
    WHERE state IN ('open', 'accepted');
CREATE TABLE change (
    id text PRIMARY KEY,               -- change_...
    finding_id text NOT NULL REFERENCES finding (id),
    lap_id text NOT NULL REFERENCES lap (id),
    title text NOT NULL,
    ecu text NOT NULL,                 -- component
    target text NOT NULL,              -- what must be true afterwards, readable
    state text NOT NULL CHECK (state IN ('proposed', 'approved', 'rejected', 'done')),
    state_reason text NOT NULL DEFAULT '',
    generation integer NOT NULL DEFAULT 1,
    proposed_by text NOT NULL,
    approved_by text,
    proposed_at timestamptz NOT NULL,
    approved_at timestamptz
);

-- Adapt ------------------------------------------------------------------------------------------
CREATE TABLE outcome (
    id text PRIMARY KEY,               -- outcome_...
    campaign_id text NOT NULL REFERENCES campaign (id),
    finding_id text NOT NULL REFERENCES finding (id),
    lap_id text NOT NULL REFERENCES lap (id),
    verdict text NOT NULL CHECK (verdict IN ('better', 'worse', 'unknown')),
    measure jsonb NOT NULL,            -- before, after, population, ratio with interval, reason
    measured_at timestamptz NOT NULL,
    UNIQUE (campaign_id, finding_id)
);

-- Coherence of the gateways' read model ----------------------------------------------------------
-- Every change of a vehicle or an assignment draws a number and wakes the listeners, whoever made it.
CREATE SEQUENCE gateway_change;
ALTER TABLE vehicle ADD COLUMN changed_seq bigint NOT NULL DEFAULT nextval('gateway_change');
ALTER TABLE assignment ADD COLUMN changed_seq bigint NOT NULL DEFAULT nextval('gateway_change');
CREATE INDEX vehicle_changed_idx ON vehicle (changed_seq);
CREATE INDEX assignment_changed_idx ON assignment (changed_seq);
CREATE FUNCTION draw_gateway_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_seq := nextval('gateway_change');
    RETURN NEW;
END $$;
CREATE TRIGGER vehicle_changed BEFORE UPDATE ON vehicle FOR EACH ROW EXECUTE FUNCTION draw_gateway_change();
CREATE TRIGGER assignment_changed BEFORE UPDATE ON assignment FOR EACH ROW EXECUTE FUNCTION draw_gateway_change();
CREATE FUNCTION wake_gateways() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('ringroad_gateway', '');
    RETURN NULL;
END $$;
CREATE TRIGGER vehicle_wakes AFTER INSERT OR UPDATE ON vehicle FOR EACH STATEMENT EXECUTE FUNCTION wake_gateways();
CREATE TRIGGER assignment_wakes AFTER INSERT OR UPDATE ON assignment
    FOR EACH STATEMENT EXECUTE FUNCTION wake_gateways();
