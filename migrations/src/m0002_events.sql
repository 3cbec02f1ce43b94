-- Cut into months by filed_at, a function of the event alone, so that what is
-- kept once can be kept once within a month, and old months can be dropped whole.
-- What no month is there for stands in the default partitions.
CREATE TABLE events (
    position bigint NOT NULL,
    classroom text COLLATE "C" NOT NULL,
    student text COLLATE "C" NOT NULL,
    event_id text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    at_ms bigint NOT NULL,
    event_time_ms bigint NOT NULL,
    received_at_ms bigint NOT NULL,
    body text NOT NULL,
    filed_at timestamptz NOT NULL,
    PRIMARY KEY (position, filed_at)
) PARTITION BY RANGE (filed_at);
CREATE TABLE events_default PARTITION OF events DEFAULT;
-- time first: what comes now is written side by side
CREATE UNIQUE INDEX events_once ON events (filed_at, classroom, student, event_id);
CREATE INDEX events_in_order ON events (classroom, position);
CREATE INDEX events_of_student ON events (classroom, student, at_ms DESC);

CREATE TABLE executions (
    position bigint NOT NULL,
    classroom text COLLATE "C" NOT NULL,
    student text COLLATE "C" NOT NULL,
    at_ms bigint NOT NULL,
    status text COLLATE "C" NOT NULL,
    notebook text COLLATE "C",
    cell_id text COLLATE "C",
    cell_index bigint,
    cell_type text COLLATE "C",
    execution_count bigint,
    code text,
    error text,
    result text,
    filed_at timestamptz NOT NULL,
    PRIMARY KEY (position, filed_at)
) PARTITION BY RANGE (filed_at);
CREATE TABLE executions_default PARTITION OF executions DEFAULT;
-- the status beside it lets totals be counted from the index alone
CREATE INDEX executions_by_time ON executions (classroom, at_ms DESC, position DESC) INCLUDE (status);
CREATE INDEX executions_of_student ON executions (classroom, student, at_ms DESC, position DESC);
CREATE INDEX executions_of_cell ON executions (classroom, notebook, cell_id, at_ms);
