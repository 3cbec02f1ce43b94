-- what a student did to a cell in the six hours that begin at quarter_ms; '' and -1 stand for what an
-- execution does not tell. Cells that were only rendered or had nothing to run are not in it.
CREATE TABLE executions_cells (
    classroom text NOT NULL,
    notebook text NOT NULL,
    cell_id text NOT NULL,
    cell_index bigint NOT NULL,
    student text NOT NULL,
    quarter_ms bigint NOT NULL,
    -- ok, error and interrupted
    runs integer NOT NULL,
    ok integer NOT NULL,
    errors integer NOT NULL,
    skipped integer NOT NULL,
    last_ms bigint NOT NULL,
    PRIMARY KEY (classroom, notebook, cell_id, cell_index, student, quarter_ms)
) WITHOUT ROWID;

INSERT INTO executions_cells
    SELECT classroom, COALESCE(notebook, ''), COALESCE(cell_id, ''), COALESCE(cell_index, -1), student,
        at_ms - at_ms % 21600000, SUM(status <> 'skipped'), SUM(status = 'ok'), SUM(status = 'error'),
        SUM(status = 'skipped'), MAX(at_ms)
    FROM executions WHERE status IN ('ok', 'error', 'interrupted', 'skipped')
    GROUP BY 1, 2, 3, 4, 5, 6;

CREATE TRIGGER executions_cells_add AFTER INSERT ON executions
    WHEN new.status IN ('ok', 'error', 'interrupted', 'skipped') BEGIN
    INSERT INTO executions_cells VALUES (
            new.classroom, COALESCE(new.notebook, ''), COALESCE(new.cell_id, ''), COALESCE(new.cell_index, -1),
            new.student, new.at_ms - new.at_ms % 21600000, new.status <> 'skipped', new.status = 'ok',
            new.status = 'error', new.status = 'skipped', new.at_ms)
        ON CONFLICT (classroom, notebook, cell_id, cell_index, student, quarter_ms) DO UPDATE SET
            runs = runs + excluded.runs,
            ok = ok + excluded.ok,
            errors = errors + excluded.errors,
            skipped = skipped + excluded.skipped,
            last_ms = MAX(last_ms, excluded.last_ms);
END;

-- the last one is looked for again only when it is the last one that goes
CREATE TRIGGER executions_cells_take AFTER DELETE ON executions
    WHEN old.status IN ('ok', 'error', 'interrupted', 'skipped') BEGIN
    UPDATE executions_cells SET
        runs = runs - (old.status <> 'skipped'),
        ok = ok - (old.status = 'ok'),
        errors = errors - (old.status = 'error'),
        skipped = skipped - (old.status = 'skipped'),
        last_ms = CASE WHEN last_ms > old.at_ms THEN last_ms ELSE COALESCE((
            SELECT MAX(x.at_ms) FROM executions x
            WHERE x.classroom = old.classroom AND x.student = old.student
                AND x.at_ms >= old.at_ms - old.at_ms % 21600000 AND x.at_ms <= old.at_ms
                AND x.status IN ('ok', 'error', 'interrupted', 'skipped')
                AND COALESCE(x.notebook, '') = COALESCE(old.notebook, '')
                AND COALESCE(x.cell_id, '') = COALESCE(old.cell_id, '')
                AND COALESCE(x.cell_index, -1) = COALESCE(old.cell_index, -1)), last_ms) END
        WHERE classroom = old.classroom AND notebook = COALESCE(old.notebook, '')
            AND cell_id = COALESCE(old.cell_id, '') AND cell_index = COALESCE(old.cell_index, -1)
            AND student = old.student AND quarter_ms = old.at_ms - old.at_ms % 21600000;
    DELETE FROM executions_cells
        WHERE classroom = old.classroom AND notebook = COALESCE(old.notebook, '')
            AND cell_id = COALESCE(old.cell_id, '') AND cell_index = COALESCE(old.cell_index, -1)
            AND student = old.student AND quarter_ms = old.at_ms - old.at_ms % 21600000
            AND runs = 0 AND skipped = 0;
END;

CREATE INDEX executions_failed ON executions (classroom, notebook, cell_id, at_ms, position) WHERE status = 'error';
