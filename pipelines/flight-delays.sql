-- How late do flights leave New York? Per hour and airport, from the real flights of January 2013.
--
--   millstream run pipelines/flight-delays.sql
--
-- The same pipeline as flight-delays.toml, for those who rather write SQL.

SET 'pipeline.name' = 'flight-delays';

-- The file, line by line, into the topic `flights`. Paths are relative to this file. Lines that
-- are appended later are followed.
CREATE SOURCE CONNECTOR "flights-file" WITH (
  connector.class = 'FileStreamSource',
  file = '../examples/data/flights-2013-01.csv',
  topic = 'flights'
);

-- The results, from their topic into a file.
CREATE SINK CONNECTOR "delays-file" WITH (
  connector.class = 'FileStreamSink',
  topics = 'delays-by-hour',
  file = '../delays-by-hour.jsonl'
);

-- The topic `flights`, read as rows.
CREATE TABLE flights (
  year INT,
  month INT,
  day INT,
  dep_time INT,           -- as a number: 517 is 5:17; missing if the flight was cancelled
  sched_dep_time INT,
  dep_delay DOUBLE,       -- minutes; negative if it left early
  arr_time INT,
  sched_arr_time INT,
  arr_delay DOUBLE,
  carrier TEXT,
  flight INT,
  tailnum TEXT,
  origin TEXT,
  dest TEXT,
  air_time DOUBLE,
  distance DOUBLE,
  hour INT,
  minute INT,
  time_hour TIMESTAMPTZ,  -- the scheduled hour of departure
  -- Within a day the flights stand in the order in which they left, and those that never left at
  -- its end: a row comes up to 18 hours after one that is later by its schedule.
  WATERMARK FOR time_hour AS time_hour - INTERVAL '18' HOUR
) WITH (format = 'csv', csv.header = true, csv.null = 'NA');

CREATE TABLE "delays-by-hour" WITH (format = 'json', key = 'origin', print = true);

INSERT INTO "delays-by-hour"
SELECT
  window_start,
  window_end,
  origin,
  count(*) AS flights,
  count(*) FILTER (WHERE dep_time IS NULL) AS cancelled,
  avg(dep_delay) AS mean_delay,
  max(dep_delay) AS max_delay,
  percentile_cont(0.9) WITHIN GROUP (ORDER BY dep_delay) AS p90_delay
FROM TABLE(TUMBLE(TABLE flights, DESCRIPTOR(time_hour), INTERVAL '1' HOUR))
GROUP BY window_start, window_end, origin
EMIT ON WINDOW CLOSE;
