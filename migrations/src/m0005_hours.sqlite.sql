INSERT INTO executions_hours (classroom, hour_ms, executions, errors)
    SELECT classroom, at_ms - at_ms % 3600000,
        SUM(status IN ('ok', 'error', 'interrupted')), SUM(status = 'error')
    FROM executions GROUP BY 1, 2;

CREATE TRIGGER executions_hours_add AFTER INSERT ON executions BEGIN
    INSERT INTO executions_hours (classroom, hour_ms, executions, errors)
        VALUES (new.classroom, new.at_ms - new.at_ms % 3600000,
            new.status IN ('ok', 'error', 'interrupted'), new.status = 'error')
        ON CONFLICT (classroom, hour_ms) DO UPDATE SET
            executions = executions + excluded.executions,
            errors = errors + excluded.errors;
END;
CREATE TRIGGER executions_hours_take AFTER DELETE ON executions BEGIN
    UPDATE executions_hours SET
        executions = executions - (old.status IN ('ok', 'error', 'interrupted')),
        errors = errors - (old.status = 'error')
        WHERE classroom = old.classroom AND hour_ms = old.at_ms - old.at_ms % 3600000;
    DELETE FROM executions_hours WHERE classroom = old.classroom
        AND hour_ms = old.at_ms - old.at_ms % 3600000 AND executions = 0;
END;

-- what went well is found soon by time; what is rare is not
CREATE INDEX executions_by_status ON executions (classroom, status, at_ms, position) WHERE status <> 'ok';
CREATE INDEX executions_by_cell ON executions (classroom, cell_id, at_ms, position);
CREATE INDEX executions_by_notebook ON executions (classroom, notebook, at_ms, position);
DROP INDEX executions_of_cell;
CREATE INDEX help_by_duration ON help (classroom, since_ms, until_ms);
DROP INDEX help_by_time;
