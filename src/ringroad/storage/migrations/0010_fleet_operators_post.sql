-- Reads every account once.
ALTER TABLE account ADD CONSTRAINT account_role_check
    CHECK (role IN ('fleet', 'viewer', 'operator', 'approver', 'admin'));
