-- Rows for the table of all types: ordinary values, edges, and nulls.
insert into types values (1,
  -32768, 2147483647, -9223372036854775808, 1.1, 0.1,
  123.4500, 1.1, 1234567890, 99999999999999999999999999999999999999,
  '1234.56', true,
  'ab', 'varchar ü', E'tab\tnew\nline "quoted" \\ € 𝄞', 'a_name', 'c',
  '\x00ff10',
  '2024-02-29', '23:59:59.999999', '12:34:56.789', '04:05:06.789+02', '2024-02-29 12:34:56.123456', '2024-02-29 12:34:56',
  '2024-02-29 12:34:56.789', '2024-02-29 12:34:56.123456+02', '2024-02-29 12:34:56.1+00', '1 year 2 months 3 days 04:05:06.789012',
  '{"a": [1, 2.50, null]}', '{"b": {"c": "€"}, "a": 1}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '<a b="1">x</a>',
  'very happy', 5, 12.30, 9, row('Main "St", 5', 7, null),
  '"a"=>"1", "b c"=>NULL, "d"=>"x\"y"', 'CiText', 'Top.Science', '978-0-393-04002-9',
  '192.168.0.1/24', '10.1.0.0/16', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05',
  '1', '10101', repeat('10', 32)::bit(64), '1011', '101010101',
  '(1.5,-2)', '{1,2,3}', '[(0,0),(1,1)]', '(2,2),(0,0)', '[(0,0),(1,1),(2,0)]', '((0,0),(1,1),(1,0))', '<(1,2),3.5>',
  'a fat cat', 'fat & rat', '16/B374D848', 4294967295, 'pg_class',
  '10:20:10,14,15', '$.a[*] ? (@ > 1)', '42', '(0,1)',
  '[1,10)', '(,5]', '[1.5,2.5]', '[2024-01-01 00:00:00,2024-01-02 12:00:00)', '[2024-01-01 00:00:00+02,)',
  '[2024-01-01,2024-02-01)', '[1.5,2)',
  '{[1,3),[5,7)}', '{[2024-01-01,2024-01-05)}',
  '{1,NULL,-3}', '{1,2,3}', '{9223372036854775807,NULL}', '{1.5,NULL}', '{0.1,1e300}', '{1.10,NULL,123456789.123456789}',
  '{1.1,22.22}', '{t,f,NULL}', '{a,bcd}', '{x,"y z"}', array['with "quotes" and \ slash', 'NULL', null, '', 'comma,x'],
  '{"\\x00ff",NULL}', '{2024-02-29,NULL}', '{12:34:56,NULL}', '{12:34:56+01}', '{"2024-02-29 12:34:56.123456"}', '{"2024-02-29 12:34:56.5+00"}',
  array['{"a": 1}'::json], array['{"a": 1}'::jsonb, null], '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}', '{sad,"very happy",NULL}', '{10.0.0.1}', '{10.1.0.0/16}', '{08:00:2b:01:02:03}',
  '{"[1,5)"}', '{1,4294967295}', '{CiText,b}', array['a=>1'::hstore], '{a.b,c}',
  '{1.50,-2}', '{1 day,02:03:04}', '{"(1,2)"}', '{101}', '{101,010}', '{<a/>}', array[row('x', 1, 'z')::address],
  '{1,2}', '{{1,2},{3,4}}', '{{a,b},{"c d",NULL}}',
  'quoted');
insert into types (id, c_int2, c_int4, c_float4, c_float8, c_numeric, c_numeric_5_2, c_money, c_bool, c_varchar,
  c_date, c_time, c_timetz, c_timestamp, c_timestamptz, c_interval, c_bytea, c_numrange, a_date, a_float8, c_numeric_10_0, c_varbit, c_bit5, c_char, a_int4)
values (2, 1, 2, 'NaN', '-Infinity', 'NaN', 'NaN', '-0.05', false, '',
  'infinity', '00:00:00', '00:00:00-12', 'infinity', '-infinity', '-1 year -2 days +03:00:00', '', 'empty', '{}', '{NaN,Infinity}', -5, '', '00000', '', '{}');
insert into types (id, c_int2, c_int4, c_float4, c_float8, c_numeric, c_money, c_bool, c_varchar,
  c_date, c_time, c_timestamp, c_timestamptz, c_interval, c_timetz, c_timestamptz_3, c_timestamp_0, c_time_3)
values (3, 3, 3, 3.4028235e38, 5e-324, '-12345678901234567890.000000001', '-92233720368547758.08', null, null,
  '0044-03-15 BC', '24:00:00', '0044-03-15 12:00:00.5 BC', '1969-12-31 23:59:59.999999+00', '-00:00:00.000001', '24:00:00+00', '2024-02-29 12:34:56+00', '1969-12-31 23:59:59', '01:02:03');
insert into types (id, c_int4, c_bool, c_varchar) values (4, null, null, null);
insert into types (id, c_int4, c_numeric, c_float4, c_float8, c_timestamptz, c_date) values (5, 5, 1e20, 1e10, 1e21, '2024-02-29 12:34:00+00', '-infinity');
