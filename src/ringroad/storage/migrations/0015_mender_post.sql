-- Reads every package once.
ALTER TABLE software_package ADD CONSTRAINT software_package_format_check
    CHECK (format IN ('bin', 'ihex', 'srec', 'mcuboot', 'swu', 'mender'));
