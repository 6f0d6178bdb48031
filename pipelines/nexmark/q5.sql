-- Nexmark q5: the auctions with most bids, every two seconds over the last ten.
--
--   millstream run pipelines/nexmark/q5.sql

CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP(3),
  extra TEXT,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (topic = 'nexmark-bid', format = 'json');

CREATE TABLE q5 WITH (topic = 'nexmark-q5', format = 'json');

INSERT INTO q5
SELECT auction, num, window_start, window_end
FROM (
  SELECT
    auction, num, window_start, window_end,
    rank() OVER (PARTITION BY window_start, window_end ORDER BY num DESC) AS place
  FROM (
    SELECT auction, count(*) AS num, window_start, window_end
    FROM TABLE(HOP(TABLE bid, DESCRIPTOR(date_time), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
    GROUP BY auction, window_start, window_end
  )
)
WHERE place = 1;
