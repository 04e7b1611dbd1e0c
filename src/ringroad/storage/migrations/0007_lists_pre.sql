-- Named lists of vehicles, beside tags: what queries of campaigns name. Code of the release before knows neither.
CREATE TABLE vehicle_list (
    name text PRIMARY KEY,
    generation integer NOT NULL DEFAULT 1,
    changed_by text NOT NULL,
    changed_at timestamptz NOT NULL
);
CREATE TABLE vehicle_list_member (
    list_name text NOT NULL REFERENCES vehicle_list (name) ON DELETE CASCADE,
    vin text NOT NULL REFERENCES vehicle (vin),
    PRIMARY KEY (list_name, vin)
);
CREATE INDEX vehicle_list_member_vin_idx ON vehicle_list_member (vin);
CREATE INDEX vehicle_tags_idx ON vehicle USING gin (tags);
