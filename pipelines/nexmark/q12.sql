-- Nexmark q12: how many bids each bidder makes in ten seconds, by when they arrived.
--
-- Nexmark means the clock of the machine that counts. When a record arrived is its timestamp, so
-- that the answer is the same whenever it is computed.
--
--   millstream run pipelines/nexmark/q12.sql

CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP(3),
  extra TEXT,
  arrived TIMESTAMP(3) METADATA FROM 'timestamp',
  WATERMARK FOR arrived AS arrived
) WITH (topic = 'nexmark-bid', format = 'json');

CREATE TABLE q12 WITH (topic = 'nexmark-q12', format = 'json');

INSERT INTO q12
SELECT bidder, count(*) AS bid_count, window_start AS starttime, window_end AS endtime
FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(arrived), INTERVAL '10' SECOND))
GROUP BY bidder, window_start, window_end;
