-- Nexmark q18: the last bid of each bidder on each auction.
--
--   millstream run pipelines/nexmark/q18.sql

CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP(3),
  extra TEXT,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (topic = 'nexmark-bid', format = 'json');

CREATE TABLE q18 WITH (topic = 'nexmark-q18', format = 'json', key = 'bidder, auction');

INSERT INTO q18
SELECT auction, bidder, price, channel, url, date_time, extra
FROM (
  SELECT *, row_number() OVER (
    PARTITION BY bidder, auction ORDER BY date_time DESC, price DESC, url DESC
  ) AS rank_number
  FROM bid
)
WHERE rank_number <= 1;
