-- Nexmark q13: bids with what a small table says of them.
--
--   millstream run pipelines/nexmark/q13.sql

CREATE TABLE side (
  key BIGINT PRIMARY KEY, value TEXT
) WITH (topic = 'nexmark-side', format = 'json');

CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP(3),
  extra TEXT,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (topic = 'nexmark-bid', format = 'json');

CREATE TABLE q13 WITH (topic = 'nexmark-q13', format = 'json');

INSERT INTO q13
SELECT b.auction, b.bidder, b.price, b.date_time, s.value
FROM bid AS b
JOIN side AS s ON b.auction % 1000 = s.key;
