-- Nexmark q0: pass bids through.
--
--   millstream run pipelines/nexmark/q0.sql

CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP(3),
  extra TEXT,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (topic = 'nexmark-bid', format = 'json');

CREATE TABLE q0 WITH (topic = 'nexmark-q0', format = 'json');

INSERT INTO q0
SELECT auction, bidder, price, date_time, extra FROM bid;
