-- Nexmark q6: the average winning price of the last ten auctions of each seller, as it stands.
--
--   millstream run pipelines/nexmark/q6.sql

CREATE TABLE auction (
  id BIGINT PRIMARY KEY, item_name TEXT, description TEXT, initial_bid BIGINT, reserve BIGINT,
  date_time TIMESTAMP(3), expires TIMESTAMP(3), seller BIGINT, category BIGINT, extra TEXT
) WITH (topic = 'nexmark-auction', format = 'json');

CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP(3),
  extra TEXT,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (topic = 'nexmark-bid', format = 'json');

CREATE TABLE q6 WITH (topic = 'nexmark-q6', format = 'json', key = 'seller');

INSERT INTO q6
SELECT seller, avg(final) AS average
FROM (
  SELECT seller, final, row_number() OVER (PARTITION BY seller ORDER BY expires DESC, id) AS place
  FROM (
    SELECT a.id, a.seller, a.expires, max(b.price) AS final
    FROM bid AS b
    JOIN auction AS a ON b.auction = a.id AND b.date_time BETWEEN a.date_time AND a.expires
    GROUP BY a.id, a.seller, a.expires
  )
)
WHERE place <= 10
GROUP BY seller;
