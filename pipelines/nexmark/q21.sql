-- Nexmark q21: the channel by name or from the URL.
--
--   millstream run pipelines/nexmark/q21.sql

CREATE TABLE bid (
  auction BIGINT, bidder BIGINT, price BIGINT, channel TEXT, url TEXT, date_time TIMESTAMP(3),
  extra TEXT,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (topic = 'nexmark-bid', format = 'json');

CREATE TABLE q21 WITH (topic = 'nexmark-q21', format = 'json');

INSERT INTO q21
SELECT
  auction, bidder, price, channel,
  CASE
    WHEN lower(channel) = 'apple' THEN '0'
    WHEN lower(channel) = 'google' THEN '1'
    WHEN lower(channel) = 'facebook' THEN '2'
    WHEN lower(channel) = 'baidu' THEN '3'
    ELSE regexp_match(url, '(?:&|^)channel_id=([^&]*)')[1]
  END AS channel_id
FROM bid
WHERE regexp_match(url, '(?:&|^)channel_id=([^&]*)')[1] IS NOT NULL
   OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu');
