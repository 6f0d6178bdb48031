-- Nexmark q2: bids on some auctions.
--
--   millstream run pipelines/nexmark/q2.sql

CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP(3),
  extra TEXT,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (topic = 'nexmark-bid', format = 'json');

CREATE TABLE q2 WITH (topic = 'nexmark-q2', format = 'json');

INSERT INTO q2
SELECT auction, price FROM bid WHERE auction % 123 = 0;
