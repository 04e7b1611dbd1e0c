-- Accounts of fleet operators: one more role, the tags and lists whose vehicles are theirs, and hours that they set for
-- those. Code of the release before knows none of it; it refuses an account with a role that it does not know.
ALTER TABLE account DROP CONSTRAINT account_role_check;
CREATE TABLE account_fleet (
    account_name text NOT NULL REFERENCES account (name),
    kind text NOT NULL CHECK (kind IN ('tag', 'list')),
    name text NOT NULL,
    PRIMARY KEY (account_name, kind, name)
);
CREATE VIEW account_vehicle AS
    SELECT f.account_name, m.vin
      FROM account_fleet f JOIN vehicle_list_member m ON f.kind = 'list' AND m.list_name = f.name
    UNION
    SELECT f.account_name, v.vin
      FROM account_fleet f JOIN vehicle v ON f.kind = 'tag' AND v.tags @> ARRAY[f.name];
ALTER TABLE vehicle ADD COLUMN schedule jsonb;  -- hours, quiet, time_zone; NULL: whenever a campaign may
