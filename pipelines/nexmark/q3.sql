-- Nexmark q3: sellers of some states and category.
--
--   millstream run pipelines/nexmark/q3.sql

CREATE TABLE person (
  id BIGINT PRIMARY KEY, name TEXT, email_address TEXT, credit_card TEXT, city TEXT, state TEXT,
  date_time TIMESTAMP(3), extra TEXT
) WITH (topic = 'nexmark-person', format = 'json');

CREATE TABLE auction (
  id BIGINT, item_name TEXT, description TEXT, initial_bid BIGINT, reserve BIGINT,
  date_time TIMESTAMP(3), expires TIMESTAMP(3), seller BIGINT, category BIGINT, extra TEXT,
  WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND
) WITH (topic = 'nexmark-auction', format = 'json');

CREATE TABLE q3 WITH (topic = 'nexmark-q3', format = 'json');

INSERT INTO q3
SELECT p.name, p.city, p.state, a.id
FROM auction AS a
JOIN person AS p ON a.seller = p.id
WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA');
