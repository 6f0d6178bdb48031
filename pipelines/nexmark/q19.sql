-- Nexmark q19: the ten highest bids of each auction.
--
--   millstream run pipelines/nexmark/q19.sql

CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP(3),
  extra TEXT,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (topic = 'nexmark-bid', format = 'json');

CREATE TABLE q19 WITH (topic = 'nexmark-q19', format = 'json', key = 'auction, rank_number');

INSERT INTO q19
SELECT auction, bidder, price, channel, url, date_time, extra, rank_number
FROM (
  SELECT *, row_number() OVER (
    PARTITION BY auction ORDER BY price DESC, date_time, bidder, url
  ) AS rank_number
  FROM bid
)
WHERE rank_number <= 10;
