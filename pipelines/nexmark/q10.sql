-- Nexmark q10: bids with the day and minute to file them under.
--
--   millstream run pipelines/nexmark/q10.sql

CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP(3),
  extra TEXT,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (topic = 'nexmark-bid', format = 'json');

CREATE TABLE q10 WITH (topic = 'nexmark-q10', format = 'json');

INSERT INTO q10
SELECT
  auction, bidder, price, date_time, extra,
  to_char(date_time, '%Y-%m-%d') AS dt,
  to_char(date_time, '%H:%M') AS hm
FROM bid;
