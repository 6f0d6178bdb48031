-- Nexmark q9: the winning bid of each auction.
--
--   millstream run pipelines/nexmark/q9.sql

CREATE TABLE auction (
  id BIGINT PRIMARY KEY, item_name TEXT, description TEXT, initial_bid BIGINT, reserve BIGINT,
  date_time TIMESTAMP(3), expires TIMESTAMP(3), seller BIGINT, category BIGINT, extra TEXT
) WITH (topic = 'nexmark-auction', format = 'json');

CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP(3),
  extra TEXT,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (topic = 'nexmark-bid', format = 'json');

CREATE TABLE q9 WITH (topic = 'nexmark-q9', format = 'json', key = 'id');

INSERT INTO q9
SELECT id, item_name, seller, category, bidder, price, bid_time
FROM (
  SELECT
    a.id, a.item_name, a.seller, a.category, b.bidder, b.price, b.date_time AS bid_time,
    row_number() OVER (
      PARTITION BY a.id ORDER BY b.price DESC, b.date_time, b.bidder
    ) AS place
  FROM bid AS b
  JOIN auction AS a ON b.auction = a.id AND b.date_time BETWEEN a.date_time AND a.expires
)
WHERE place <= 1;
