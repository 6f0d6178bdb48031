-- Nexmark q7: the highest bids of every ten seconds.
--
--   millstream run pipelines/nexmark/q7.sql

CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP(3),
  extra TEXT,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (topic = 'nexmark-bid', format = 'json');

CREATE TABLE q7 WITH (topic = 'nexmark-q7', format = 'json');

INSERT INTO q7
SELECT b.auction, b.price, b.bidder, b.date_time, b.extra
FROM (
  SELECT auction, price, bidder, date_time, extra, window_start, window_end
  FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(date_time), INTERVAL '10' SECOND))
) AS b
JOIN (
  SELECT max(price) AS maxprice, window_start, window_end
  FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(date_time), INTERVAL '10' SECOND))
  GROUP BY window_start, window_end
) AS m
ON b.window_start = m.window_start AND b.window_end = m.window_end AND b.price = m.maxprice;
