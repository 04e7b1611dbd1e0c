-- Mender artifacts are packages too. Code of the release before never stores one, and reads them as any other.
ALTER TABLE software_package DROP CONSTRAINT software_package_format_check;
