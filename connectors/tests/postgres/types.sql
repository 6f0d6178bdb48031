-- A table of every type that PostgreSQL has, with values from the edges of each.
create extension if not exists hstore;
create extension if not exists citext;
create extension if not exists ltree;
create extension if not exists isn;
create type mood as enum ('sad', 'ok', 'very happy');
create domain positive as integer check (value > 0);
create domain price as numeric(10, 2);
create domain nested as positive;
create type address as (street text, number integer, "the zip" varchar(10));
create type float8_range as range (subtype = float8);
create table types (
  id bigserial primary key,
  c_int2 smallint not null default 7, c_int4 integer default 42, c_int8 bigint,
  c_float4 real, c_float8 double precision,
  c_numeric numeric, c_numeric_5_2 numeric(5, 2), c_numeric_10_0 numeric(10), c_decimal_0 numeric(38, 0),
  c_money money, c_bool boolean default true,
  c_char char(5), c_varchar varchar(20) default 'it''s', c_text text, c_name name, c_internal_char "char",
  c_bytea bytea,
  c_date date, c_time time, c_time_3 time(3), c_timetz timetz, c_timestamp timestamp, c_timestamp_0 timestamp(0),
  c_timestamp_3 timestamp(3), c_timestamptz timestamptz, c_timestamptz_3 timestamptz(3), c_interval interval,
  c_json json, c_jsonb jsonb, c_uuid uuid, c_xml xml,
  c_enum mood, c_domain positive, c_price price, c_nested nested, c_composite address,
  c_hstore hstore, c_citext citext, c_ltree ltree, c_isbn isbn,
  c_inet inet, c_cidr cidr, c_macaddr macaddr, c_macaddr8 macaddr8,
  c_bit1 bit, c_bit5 bit(5), c_bit64 bit(64), c_varbit varbit, c_varbit9 varbit(9),
  c_point point, c_line line, c_lseg lseg, c_box box, c_path path, c_polygon polygon, c_circle circle,
  c_tsvector tsvector, c_tsquery tsquery, c_pg_lsn pg_lsn, c_oid oid, c_regclass regclass,
  c_txid_snapshot txid_snapshot, c_jsonpath jsonpath, c_xid xid, c_tid tid,
  c_int4range int4range, c_int8range int8range, c_numrange numrange, c_tsrange tsrange, c_tstzrange tstzrange,
  c_daterange daterange, c_custom_range float8_range,
  c_int4multirange int4multirange, c_datemultirange datemultirange,
  a_int2 smallint[], a_int4 integer[], a_int8 bigint[], a_float4 real[], a_float8 float8[], a_numeric numeric[],
  a_numeric_5_2 numeric(5, 2)[], a_bool boolean[], a_char char(3)[], a_varchar varchar(9)[], a_text text[],
  a_bytea bytea[], a_date date[], a_time time[], a_timetz timetz[], a_timestamp timestamp[], a_timestamptz timestamptz[],
  a_json json[], a_jsonb jsonb[], a_uuid uuid[], a_enum mood[], a_inet inet[], a_cidr cidr[], a_macaddr macaddr[],
  a_int4range int4range[], a_oid oid[], a_citext citext[], a_hstore hstore[], a_ltree ltree[],
  a_money money[], a_interval interval[], a_point point[], a_varbit varbit[], a_bit bit(3)[], a_xml xml[], a_composite address[],
  a_domain positive[], a_int4_2d integer[][], a_text_2d text[][],
  "Upper ""Quoted""" text
);
create table small (id integer primary key, note text);
