-- what a student did to a cell in the six hours that begin at quarter_ms; '' and -1 stand for what an
-- execution does not tell. Cells that were only rendered or had nothing to run are not in it.
CREATE TABLE executions_cells (
    classroom text COLLATE "C" NOT NULL,
    notebook text COLLATE "C" NOT NULL,
    cell_id text COLLATE "C" NOT NULL,
    cell_index bigint NOT NULL,
    student text COLLATE "C" NOT NULL,
    quarter_ms bigint NOT NULL,
    -- ok, error and interrupted
    runs integer NOT NULL,
    ok integer NOT NULL,
    errors integer NOT NULL,
    skipped integer NOT NULL,
    last_ms bigint NOT NULL,
    PRIMARY KEY (classroom, notebook, cell_id, cell_index, student, quarter_ms)
);
-- a lesson changes its rows again and again: room beside them keeps that within their pages
ALTER TABLE executions_cells SET (fillfactor = 70);

-- what was there before is counted once; whoever writes waits until it is
LOCK TABLE executions IN SHARE ROW EXCLUSIVE MODE;

INSERT INTO executions_cells
    SELECT classroom, COALESCE(notebook, '') AS notebook, COALESCE(cell_id, '') AS cell_id,
        COALESCE(cell_index, -1) AS cell_index, student, at_ms - at_ms % 21600000 AS quarter_ms,
        COUNT(*) FILTER (WHERE status <> 'skipped') AS runs, COUNT(*) FILTER (WHERE status = 'ok') AS ok,
        COUNT(*) FILTER (WHERE status = 'error') AS errors, COUNT(*) FILTER (WHERE status = 'skipped') AS skipped,
        MAX(at_ms) AS last_ms
    FROM executions WHERE status IN ('ok', 'error', 'interrupted', 'skipped') GROUP BY 1, 2, 3, 4, 5, 6;

-- once a statement, whatever the number of rows; in the order of the key, so that two who write never wait for each other
CREATE FUNCTION executions_cells_add() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO executions_cells AS h
        SELECT classroom, COALESCE(notebook, '') AS notebook, COALESCE(cell_id, '') AS cell_id,
            COALESCE(cell_index, -1) AS cell_index, student, at_ms - at_ms % 21600000 AS quarter_ms,
            COUNT(*) FILTER (WHERE status <> 'skipped') AS runs, COUNT(*) FILTER (WHERE status = 'ok') AS ok,
            COUNT(*) FILTER (WHERE status = 'error') AS errors, COUNT(*) FILTER (WHERE status = 'skipped') AS skipped,
            MAX(at_ms) AS last_ms
        FROM changed WHERE status IN ('ok', 'error', 'interrupted', 'skipped') GROUP BY 1, 2, 3, 4, 5, 6
        ORDER BY 1, 2, 3, 4, 5, 6
        ON CONFLICT (classroom, notebook, cell_id, cell_index, student, quarter_ms) DO UPDATE SET
            runs = h.runs + excluded.runs,
            ok = h.ok + excluded.ok,
            errors = h.errors + excluded.errors,
            skipped = h.skipped + excluded.skipped,
            last_ms = GREATEST(h.last_ms, excluded.last_ms);
    RETURN NULL;
END $$;
CREATE TRIGGER executions_cells_add AFTER INSERT ON executions
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION executions_cells_add();

-- the last one is looked for again only when it is the last one that goes
CREATE FUNCTION executions_cells_take() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE executions_cells h SET
        runs = h.runs - gone.runs,
        ok = h.ok - gone.ok,
        errors = h.errors - gone.errors,
        skipped = h.skipped - gone.skipped,
        last_ms = CASE WHEN h.last_ms > gone.last_ms THEN h.last_ms ELSE COALESCE((
            SELECT MAX(x.at_ms) FROM executions x
            WHERE x.classroom = h.classroom AND x.student = h.student
                AND x.at_ms >= h.quarter_ms AND x.at_ms < h.quarter_ms + 21600000
                AND x.status IN ('ok', 'error', 'interrupted', 'skipped')
                AND COALESCE(x.notebook, '') = h.notebook AND COALESCE(x.cell_id, '') = h.cell_id
                AND COALESCE(x.cell_index, -1) = h.cell_index), h.last_ms) END
        FROM (
            SELECT classroom, COALESCE(notebook, '') AS notebook, COALESCE(cell_id, '') AS cell_id,
                COALESCE(cell_index, -1) AS cell_index, student, at_ms - at_ms % 21600000 AS quarter_ms,
                COUNT(*) FILTER (WHERE status <> 'skipped') AS runs, COUNT(*) FILTER (WHERE status = 'ok') AS ok,
                COUNT(*) FILTER (WHERE status = 'error') AS errors, COUNT(*) FILTER (WHERE status = 'skipped') AS skipped,
                MAX(at_ms) AS last_ms
            FROM changed WHERE status IN ('ok', 'error', 'interrupted', 'skipped') GROUP BY 1, 2, 3, 4, 5, 6
        ) AS gone
        WHERE h.classroom = gone.classroom AND h.notebook = gone.notebook AND h.cell_id = gone.cell_id
            AND h.cell_index = gone.cell_index AND h.student = gone.student AND h.quarter_ms = gone.quarter_ms;
    DELETE FROM executions_cells h
        USING (
            SELECT DISTINCT classroom, COALESCE(notebook, '') AS notebook, COALESCE(cell_id, '') AS cell_id,
                COALESCE(cell_index, -1) AS cell_index, student, at_ms - at_ms % 21600000 AS quarter_ms
            FROM changed
        ) AS gone
        WHERE h.classroom = gone.classroom AND h.notebook = gone.notebook AND h.cell_id = gone.cell_id
            AND h.cell_index = gone.cell_index AND h.student = gone.student AND h.quarter_ms = gone.quarter_ms
            AND h.runs = 0 AND h.skipped = 0;
    RETURN NULL;
END $$;
CREATE TRIGGER executions_cells_take AFTER DELETE ON executions
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION executions_cells_take();

CREATE INDEX executions_failed ON executions (classroom, notebook, cell_id, at_ms DESC, position DESC) WHERE status = 'error';
