-- Nexmark q14: bids in a range, with the time of day and how often c stands in extra.
--
--   millstream run pipelines/nexmark/q14.sql

CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP(3),
  extra TEXT,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (topic = 'nexmark-bid', format = 'json');

CREATE TABLE q14 WITH (topic = 'nexmark-q14', format = 'json');

INSERT INTO q14
SELECT
  auction, bidder, 0.908 * price AS price,
  CASE
    WHEN date_part('hour', date_time) BETWEEN 8 AND 18 THEN 'dayTime'
    WHEN date_part('hour', date_time) <= 6 OR date_part('hour', date_time) >= 20 THEN 'nightTime'
    ELSE 'otherTime'
  END AS bid_time_type,
  date_time, extra,
  character_length(extra) - character_length(replace(extra, 'c', '')) AS c_counts
FROM bid
WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000;
