ALTER TABLE executions_hours ALTER classroom TYPE text COLLATE "C";

-- what was there before is counted once; whoever writes waits until it is
LOCK TABLE executions IN SHARE ROW EXCLUSIVE MODE;
INSERT INTO executions_hours (classroom, hour_ms, executions, errors)
    SELECT classroom, at_ms - at_ms % 3600000,
        COUNT(*) FILTER (WHERE status IN ('ok', 'error', 'interrupted')),
        COUNT(*) FILTER (WHERE status = 'error')
    FROM executions GROUP BY 1, 2;

-- once a statement, whatever the number of rows; in the order of the key, so that two who write never wait for each other
CREATE FUNCTION executions_hours_add() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO executions_hours AS h (classroom, hour_ms, executions, errors)
        SELECT classroom, at_ms - at_ms % 3600000,
            COUNT(*) FILTER (WHERE status IN ('ok', 'error', 'interrupted')),
            COUNT(*) FILTER (WHERE status = 'error')
        FROM changed GROUP BY 1, 2 ORDER BY 1, 2
        ON CONFLICT (classroom, hour_ms) DO UPDATE SET
            executions = h.executions + excluded.executions,
            errors = h.errors + excluded.errors;
    RETURN NULL;
END $$;
CREATE TRIGGER executions_hours_add AFTER INSERT ON executions
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION executions_hours_add();

CREATE FUNCTION executions_hours_take() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE executions_hours h SET
        executions = h.executions - gone.executions,
        errors = h.errors - gone.errors
        FROM (
            SELECT classroom, at_ms - at_ms % 3600000 AS hour_ms,
                COUNT(*) FILTER (WHERE status IN ('ok', 'error', 'interrupted')) AS executions,
                COUNT(*) FILTER (WHERE status = 'error') AS errors
            FROM changed GROUP BY 1, 2
        ) AS gone
        WHERE h.classroom = gone.classroom AND h.hour_ms = gone.hour_ms;
    DELETE FROM executions_hours h
        USING (SELECT DISTINCT classroom, at_ms - at_ms % 3600000 AS hour_ms FROM changed) AS gone
        WHERE h.classroom = gone.classroom AND h.hour_ms = gone.hour_ms AND h.executions = 0;
    RETURN NULL;
END $$;
CREATE TRIGGER executions_hours_take AFTER DELETE ON executions
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION executions_hours_take();

-- what went well is found soon by time; what is rare is not
CREATE INDEX executions_by_status ON executions (classroom, status, at_ms DESC, position DESC) WHERE status <> 'ok';
CREATE INDEX executions_by_cell ON executions (classroom, cell_id, at_ms DESC, position DESC);
CREATE INDEX executions_by_notebook ON executions (classroom, notebook, at_ms DESC, position DESC);
DROP INDEX executions_of_cell;
CREATE INDEX help_by_duration ON help (classroom, since_ms, until_ms);
DROP INDEX help_by_time;
