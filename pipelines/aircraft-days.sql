-- Windows that overlap and windows that follow the data, over the real flights of January 2013.
--
--   millstream run pipelines/aircraft-days.sql

SET 'pipeline.name' = 'aircraft-days';

CREATE SOURCE CONNECTOR "flights-file" WITH (
  connector.class = 'FileStreamSource',
  file = '../examples/data/flights-2013-01.csv',
  topic = 'flights'
);

CREATE TABLE flights (
  year INT, month INT, day INT,
  dep_time INT, sched_dep_time INT, dep_delay DOUBLE,
  arr_time INT, sched_arr_time INT, arr_delay DOUBLE,
  carrier TEXT, flight INT, tailnum TEXT, origin TEXT, dest TEXT,
  air_time DOUBLE, distance DOUBLE, hour INT, minute INT,
  time_hour TIMESTAMPTZ,  -- the scheduled hour of departure
  WATERMARK FOR time_hour AS time_hour - INTERVAL '18' HOUR
) WITH (format = 'csv', csv.header = true, csv.null = 'NA');

-- The days of an aircraft: its flights from New York, one after the other, until it is not seen
-- for ten hours.
CREATE TABLE "aircraft-days" WITH (format = 'json', key = 'tailnum', print = true);

INSERT INTO "aircraft-days"
SELECT window_start, window_end, tailnum, count(*) AS flights, count(DISTINCT dest) AS places
FROM TABLE(SESSION(TABLE flights PARTITION BY tailnum, DESCRIPTOR(time_hour), INTERVAL '10' HOUR))
WHERE tailnum IS NOT NULL
GROUP BY window_start, window_end, tailnum
HAVING count(*) > 2;

-- The six hours before each hour, by airport.
CREATE TABLE "six-hours" WITH (format = 'json', key = 'origin');

INSERT INTO "six-hours"
SELECT window_start, window_end, origin, count(*) AS flights
FROM TABLE(HOP(TABLE flights, DESCRIPTOR(time_hour), INTERVAL '1' HOUR, INTERVAL '6' HOURS))
GROUP BY window_start, window_end, origin;
